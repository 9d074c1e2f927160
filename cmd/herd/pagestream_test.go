package main

import "testing"

// testPageStream: the stream of clients is read right however its bytes are split, indexes and names
// are used again, and memory stays the same when clients come and go.
func testPageStream(t *testing.T, b browser) {
	h := startUp(t, "goloman")
	p := b.open(t, h.ops+"/", desktop)
	const messages = `
	  const { Store, Parser } = await import("./clients.js");
	  const u32 = (n) => [n & 255, (n >> 8) & 255, (n >> 16) & 255, n >>> 24];
	  const float = (n) => [...new Uint8Array(new Float32Array([n]).buffer)];
	  const double = (n) => [...new Uint8Array(new Float64Array([n]).buffer)];
	  const name = (i, text) => { const b = [...new TextEncoder().encode(text)]; return [1, ...u32(i), b.length & 255, b.length >> 8, ...b]; };
	  const position = (i, lat, lon) => [2, ...u32(i), ...float(lat), ...float(lon), ...double(5)];
	  const known = (store) => { const all = []; for (let i = 0; i < store.end; i++) if (store.alive[i]) all.push(new TextDecoder().decode(store.name(i)) + "@" + store.x[i].toFixed(3)); return all.join(" "); };
	`
	got := eval[[]string](p, `(async () => {`+messages+`
	  const bytes = Uint8Array.from([4, ...name(0, "kiwi"), ...position(0, 1, 0), ...name(1, "emu"), ...position(1, 2, 90), 5, 6, ...u32(1500),
	    3, ...u32(0), ...name(0, "moa"), ...position(0, 3, -90), ...position(1, 4, 180)]);
	  const results = new Set();
	  for (let size = 1; size <= bytes.length; size++) {
	    const store = new Store();
	    const parser = new Parser(store);
	    for (let at = 0; at < bytes.length; at += size) await parser.feed(bytes.slice(at, at + size));
	    results.add(known(store) + " live " + store.live + " count " + store.count + " age " + parser.age + " updates " + store.updates);
	  }
	  return [...results];
	})()`)
	if want := "moa@0.250 emu@1.000 live true count 2 age 1.5 updates 2"; len(got) != 1 || got[0] != want {
		t.Errorf("the stream is read as %q, want %q", got, want)
	}
	got = eval[[]string](p, `(async () => {`+messages+`
	  const store = new Store();
	  const parser = new Parser(store);
	  const length = "a name of sixty bytes or so, each time with another number, ".length + 7;
	  for (let n = 0; n < 30000; n++) {
	    const i = n % 100;
	    await parser.feed(Uint8Array.from([3, ...u32(i), ...name(i, "a name of sixty bytes or so, each time with another number, " + (1e6 + n)), ...position(i, n % 90, n % 180)]));
	  }
	  const right = [0, 57, 99].every((i) => new TextDecoder().decode(store.name(i)).endsWith(" " + (1e6 + 29900 + i)));
	  const refused = await parser.feed(Uint8Array.from([9])).then(() => "taken", (e) => e.message);
	  return [String(right), String(store.count), String(store.find(new TextEncoder().encode("a name of sixty bytes or so, each time with another number, 1029957"))), String(store.name(0).buffer.byteLength < 200000), refused];
	})()`)
	if want := []string{"true", "100", "57", "true", "a message of kind 9"}; len(got) != 5 || got[0] != want[0] || got[1] != want[1] || got[2] != want[2] || got[3] != want[3] || got[4] != want[4] {
		t.Errorf("after 30,000 clients on 100 places: %q, want %q", got, want)
	}
}

// testPageAway: when the page's server ends, the page says that it is cut off, and how old everything
// is; when there is one again at the same address, it goes on, and so does the map.
func testPageAway(t *testing.T, b browser) {
	h := startUp(t, "A-B")
	w, url := startWatch(t, "HERD_TOPOLOGY=A-B", "HERD_NATS_URL="+h.nats)
	p := b.open(t, url+"/", desktop)
	p.awaitText("#headline", "^All 2 servers are up")
	p.awaitText("#map-summary", "^0 clients in view")
	p.allow("ERR_CONNECTION_REFUSED|ERR_INCOMPLETE_CHUNKED|ERR_EMPTY_RESPONSE|ERR_CONNECTION_RESET|503|ERR_NETWORK_CHANGED")
	// The map's own next attempt may be 8 s away. Here it is never: the map goes on because the herd is back.
	eval[bool](p, "(window.realTimeout = setTimeout, window.setTimeout = () => 0, true)")
	w.kill()
	p.awaitText("#connection", "the page is cut off")
	p.awaitText("#headline", "Nothing was heard from the herd for [0-9]+ s")
	p.awaitText("#total-clients", "ago$")
	p.awaitText("#map-age", "^last heard [0-9]+ s ago: ")

	address := url[len("http://"):]
	start(t, []string{"HERD_TOPOLOGY=A-B", "HERD_NATS_URL=" + h.nats, "HERD_WATCH_LISTEN=" + address}, "watch")
	p.awaitText("#connection", "live")
	p.awaitText("#headline", "^All 2 servers are up")
	p.awaitText("#map-age", "^$")
	eval[bool](p, "(window.setTimeout = realTimeout, true)")
	// After sleep, what was new before is old at once, whatever performance.now says.
	said := eval[string](p, `(() => {
	  const now = Date.now;
	  Date.now = () => now.call(Date) + 8 * 3600 * 1000;
	  document.dispatchEvent(new Event("visibilitychange"));
	  Date.now = now;
	  return document.querySelector("#headline").textContent + document.querySelector("#total-clients").textContent;
	})()`)
	if !matches("^Nothing was heard from the herd for 8 h.* 8 h ago$", said) {
		t.Errorf("when the clock has jumped by 8 hours the page says %q", said)
	}
	p.awaitText("#headline", "^All 2 servers are up")
}
