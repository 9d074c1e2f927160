package main

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// testPageSearch: results of a search are kept fresh, are announced, and have their age when no new
// ones come. A client that is found late is selected then. Names are isolated from the words
// around them.
func testPageSearch(t *testing.T, b browser) {
	h := startUp(t, "A-B")
	p := b.open(t, h.ops+"/?client=kiwi", desktop)
	c := dial(t, h.addresses[0])
	report := func(name string) {
		t.Helper()
		c.ask(fmt.Sprintf("IAMAT %s +34.068930-118.445127 %d", name, time.Now().Unix()))
	}
	p.awaitText("#search-result", "No server knows this client\\.")
	p.awaitText("#announcements", "kiwi: No server knows this client")
	report("kiwi")
	p.awaitText("#search-result", "Every server has the same record")
	p.awaitText("#map-summary", "km across, around \\+34\\.06.*-118\\.4")

	p.do(focus("#near-form input"))
	p.press("kiwi\r")
	p.awaitText("#search-result", "^1 client within 10 km")
	p.awaitText("#announcements", "1 client within 10 km")
	p.await("flood.querySelector('bdi') === null || flood.textContent.startsWith('kiwi')")
	name := "\u202Edrow" + "o12345678901234567890123456789"
	report(name)
	p.awaitText("#search-result", "^2 clients within 10 km")
	p.await(fmt.Sprintf("flood.querySelector('bdi')?.textContent.startsWith(%q)", `\u202Edrow`))
	p.await(`[...document.querySelectorAll("#search-result button bdi")].some((b) => b.textContent.endsWith("…"))`)

	eval[bool](p, "(window.fetch = () => Promise.reject(new TypeError('test')), true)")
	p.awaitText("#search-result", "^That failed: the page's server cannot be reached")
	p.awaitText("#search-age", "^as of [0-9]+ s ago$")
	p.awaitText("#announcements", "The search failed")
}

// testPageNames: names are clipped between characters, and what is not seen in them, or turns the
// direction of the text around them, is escaped. A record runs from left to right, with only the name
// isolated in it.
func testPageNames(t *testing.T, p *tab) {
	got := module[[]string](t, p, "dom.js", `
	  const box = document.createElement("code");
	  const line = (text, client) => { box.replaceChildren(...m.line(text, client)); return box.innerHTML; };
	  return [
	    m.clip("\u{1F95D}".repeat(32)) === "\u{1F95D}".repeat(32), m.clip("\u{1F95D}".repeat(33)) === "\u{1F95D}".repeat(31) + "…",
	    m.clip("12345", 4), m.clip("a\u202Eb\u2066c\u0007d\u0085e"), m.name("a\u2069").textContent,
	    m.clippedName("kiwi").outerHTML, m.clippedName("k".repeat(40)).title.length,
	    line("AT A +0.5 \u05E7\u05D9\u05D5\u05D9 +34-118 5", "\u05E7\u05D9\u05D5\u05D9"), line("AT A +0.5 A +34-118 5", "A"), line("no\u202E", "A"),
	  ].map(String);`)
	want := []string{
		"true", "true", "123…", `a\u202Eb\u2066c\u0007d\u0085e`, `a\u2069`, "<bdi>kiwi</bdi>", "40",
		"AT A +0.5 <bdi>קיוי</bdi> +34-118 5", "AT A +0.5 <bdi>A</bdi> +34-118 5", `no\u202E`,
	}
	if strings.Join(got, "|") != strings.Join(want, "|") {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}

// fakeSearch is the beginning of the body of a function with a search, whose requests reply(url)
// answers: with a status and what the answer has. asked has the requests. What
// the search does every 2 s it does at once. until waits for a condition, and end ends the search.
const fakeSearch = `
  const box = document.createElement("div");
  box.innerHTML = "<form><input name=client></form><form><input name=at><input name=km></form><div></div><p></p>";
  const [form, near, result, age] = box.children;
  const asked = [];
  const real = [window.fetch, window.setTimeout, location.href];
  window.fetch = async (url, options) => { if (/api\/clients/.test(url)) return real[0].call(window, url, options); asked.push(url.replace(/.*\/api\//, "")); const [status, value] = reply(url); return new Response(typeof value === "string" ? value : JSON.stringify(value), { status }); };
  window.setTimeout = (f, ms) => real[1].call(window, f, ms === 2000 ? 10 : ms);
  const announced = [];
  const search = new m.Search({ form, near, result, age, show() {}, found() {}, say: (text) => announced.push(text) });
  const until = async (done) => { for (let n = 0; n < 500 && !done(); n++) await new Promise((r) => real[1].call(window, r, 5)); };
  const bytes = (text) => new TextEncoder().encode(text);
  const end = (said) => { search.findNear(bytes("x"), "-"); [window.fetch, window.setTimeout] = real; history.replaceState(null, "", real[2]); return said; };
`

// testPageNear: a list that may be shortened says so. A question that is refused for good is not asked
// again, one about an unknown client is; kilometres are any number.
func testPageNear(t *testing.T, p *tab) {
	got := module[[]string](t, p, "search.js", `
	  let reply = () => [200, { clients: Array(50).fill({ id: "kiwi", km: 1, lat: 0, lon: 0 }) }];`+fakeSearch+`
	  const said = [];
	  const say = async (at, km, matches) => { search.findNear(bytes(at), km); await until(() => matches.test(result.textContent)); said.push(result.firstChild.hidden ? result.querySelector(".records p").textContent : result.firstChild.textContent); };
	  await say("+1+1", "1e3", /within/);
	  said.push(asked.at(-1));
	  reply = () => [200, { clients: [{ id: "kiwi", km: 1, lat: 0, lon: 0 }], leftOut: 3 }];
	  await say("+1+1", "", /nearest 1 /);
	  const before = asked.length;
	  await say("+1+1", "abc", /abc/);
	  await say("+1+1", "99999", /99999/);
	  said.push(asked.length - before);
	  reply = () => [200, { clients: [], unknown: true }];
	  await say("moa", "5", /moa|knows/);
	  const first = asked.length;
	  await until(() => asked.length > first + 2);
	  said.push(asked.length > first + 2);
	  announced.length = 0;
	  reply = () => [200, { clients: [{ id: "kiwi", km: 1, lat: 0, lon: 0 }] }];
	  await until(() => announced.length > 0);
	  said.push(announced[0]);
	  const asks = asked.length;
	  await say("m oa", "5", /white space/);
	  search.find(bytes("k iwi"));
	  said.push(result.firstChild.textContent, asked.length - asks);
	  reply = () => [400, "no"];
	  await say("moa", "6", /That failed/);
	  const refused = asked.length;
	  await new Promise((r) => setTimeout(r, 100));
	  said.push(asked.length - refused);
	  return end(said.map(String));`)
	want := []string{
		"The nearest 50 clients within 1000 km:", "near?at=%2B1%2B1&km=1000&limit=50",
		"The nearest 1 client within 10 km:",
		"“abc” is not a number of kilometres from 0 to 20,040.", "“99999” is not a number of kilometres from 0 to 20,040.", "0",
		"No server knows this client.", "true", "1 client within 5 km",
		"“m oa” is neither a client's ID nor a location such as +34.07-118.45: it has white space.", "“k iwi” is not a client's ID: an ID has no white space.", "0",
		"That failed: no", "0",
	}
	if strings.Join(got, "|") != strings.Join(want, "|") {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}

// testPageRecordAges: the ages of records grow while no answer comes.
func testPageRecordAges(t *testing.T, p *tab) {
	got := module[string](t, p, "search.js", `
	  let reply = () => [200, { servers: [{ server: "A", known: true, lat: 1, lon: 1, time: 1, age: 5, origin: "A", sameAs: 0, record: "x" }], missing: [] }];`+fakeSearch+`
	  search.find(bytes("kiwi"));
	  await until(() => result.querySelector("[data-age]"));
	  reply = () => [503, "gone"];
	  await until(() => /That failed/.test(result.textContent));
	  const now = Date.now;
	  Date.now = () => now.call(Date) + 60000;
	  await until(() => /65|66/.test(result.querySelector("td [data-age]").textContent));
	  Date.now = now;
	  return end([...result.querySelectorAll("[data-age]")].map((e) => e.textContent).join("; "));`)
	if !matches("^6[5-9] s ago; 6[5-9] s ago$", got) {
		t.Errorf("a minute after the last answer a record of 5 s ago is of %q", got)
	}
}

// testPagePlaces: the places near a client are asked for again when it has moved by a kilometre.
func testPagePlaces(t *testing.T, p *tab) {
	got := module[[]string](t, p, "search.js", `
	  let lat = 34;
	  let records = 0;
	  const reply = (url) => {
	    if (url.includes("places")) return [200, { places: { status: "OK", results: [{ name: "place at " + lat, geometry: { location: { lat, lng: 0 } } }] } }];
	    records++;
	    return [200, { servers: [{ server: "A", known: true, lat: 1, lon: 1, time: 1, sameAs: 0, record: "old" }, { server: "B", known: true, lat, lon: 0, time: 2, sameAs: 1, record: "new" }], missing: [] }];
	  };`+fakeSearch+`
	  const said = [];
	  const places = () => asked.filter((url) => url.startsWith("places")).length;
	  const further = async () => { const before = records; await until(() => records > before + 3); said.push(places() + " " + result.querySelector(".places li bdi")?.textContent); };
	  search.find(bytes("kiwi"));
	  await further();
	  lat = 34.005;
	  await further();
	  lat = 34.01;
	  await further();
	  return end(said);`)
	if want := "1 place at 34|1 place at 34|2 place at 34.01"; strings.Join(got, "|") != want {
		t.Errorf("requests for places, and the first: %q, want %q", got, want)
	}
}
