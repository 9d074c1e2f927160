package main

import (
	"fmt"
	"strings"
	"testing"
)

// testPageParts tests modules of the page by themselves, within one tab.
func testPageParts(t *testing.T, b browser) {
	h := startUp(t, "A-B")
	p := b.open(t, h.ops+"/", desktop)
	p.awaitText("#headline", "^All 2 servers are up")
	for name, test := range map[string]func(*testing.T, *tab){
		"area":   testPageArea,
		"wheel":  testPageWheel,
		"totals": testPageTotals,
		"never":  testPageNever,
		"words":  testPageWords,
		"times":  testPageTimes,
		"try":    testPageTry,
		"events": testPageEvents,
		"flood":  testPageFlood,
		"names":  testPageNames,
		"near":   testPageNear,
		"places": testPagePlaces,
		"ages":   testPageRecordAges,
	} {
		t.Run(name, func(t *testing.T) { test(t, p) })
	}
}

// module evaluates the body of an async function of the page. The module's exports are in m.
func module[T any](t *testing.T, p *tab, name, body string) T {
	t.Helper()
	return eval[T](p, fmt.Sprintf("import(new URL(%q, location)).then(async (m) => { %s })", name, body))
}

// testPageArea: at every zoom and position, the area that the map follows covers what it shows.
func testPageArea(t *testing.T, p *tab) {
	faults := module[[]string](t, p, "area.js", `
	  const faults = [];
	  for (let share = 0.02; share <= 1; share += 0.01) {
	    for (let left = 0; left < 1; left += 0.05) {
	      const size = 1000;
	      const view = { left, top: 0.3, size, width: share * size, height: 0.3 * share * size };
	      const box = new m.Area().next(view);
	      if (box === null) continue;
	      const spans = (lon) => (((lon - box.west) % 360) + 360) % 360;
	      const wide = spans(box.east);
	      const covered = [0, 0.25, 0.5, 0.75, 1].every((part) => spans((left + part * share - 0.5) * 360) <= wide);
	      if (!covered || wide < 360 * share) faults.push("share " + share.toFixed(2) + ", left " + left.toFixed(2) + ": from " + box.west + " to " + box.east);
	    }
	  }
	  return faults;`)
	if len(faults) > 0 {
		t.Errorf("%d areas do not cover the picture, such as %s", len(faults), strings.Join(faults[:min(3, len(faults))], "; "))
	}
}

// testPageTotals: the figures of the herd are those of servers that were heard just now, not of one
// that is down. Without any, they have their age.
func testPageTotals(t *testing.T, p *tab) {
	const model = `
	  const at = (name) => ({ name, clients: "" });
	  const totals = (...servers) => m.totals(m.herdModel({ servers: [at("A"), at("B")], edges: [] }, { heard: 0, bus: "connected", edges: [], servers }, 0));
	  const down = { name: "A", state: "down", clients: 900, in: 5, heard: 60 };`
	got := module[string](t, p, "model.js", model+`
	  const f = totals(down, { name: "B", state: "up", clients: 7, in: 1, heard: 0.2 });
	  return f.clients + " clients, " + f.rate + "/s, age " + f.age;`)
	if want := "7 clients, 1.0/s, age 0"; got != want {
		t.Errorf("a server is down: %q, want %q", got, want)
	}
	got = module[string](t, p, "model.js", model+`
	  const f = totals(down, { name: "B", state: "down", clients: 7, in: 1, heard: 30 });
	  return f.clients + " clients, " + f.rate + "/s, age " + f.age;`)
	if want := "7 clients, 1.0/s, age 30"; got != want {
		t.Errorf("all servers are down: %q, want %q", got, want)
	}
}

// testPageNever: before anything was heard there are no figures, and nothing about differences.
func testPageNever(t *testing.T, p *tab) {
	got := module[string](t, p, "model.js", `
	  const model = m.herdModel({ servers: [{ name: "A" }, { name: "B" }], edges: [{ a: "A", b: "B" }] }, { bus: "disconnected", busWhy: "connection refused", servers: [], edges: [] }, 60);
	  const f = m.totals(model);
	  return [model.headline, model.busWhy, f.servers, f.edges, f.clients, f.rate, f.age, model.servers[0].words, model.edges[0].words].join("|");`)
	const want = "NATS is not reachable. Nothing was heard yet.|connection refused|?|?|?|?||unknown: its figures are not known|unknown: its traffic is not known"
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	got = module[string](t, p, "table.js", `
	  const list = document.createElement("ul");
	  const pairs = new m.PairMatrix(document.createElement("thead"), document.createElement("tbody"), list);
	  pairs.build({ servers: [{ name: "A" }, { name: "B" }] });
	  pairs.update({ never: true, old: true, age: 60, pairs: [{ a: "A", b: "B", equal: true }], differences: [] });
	  return pairs.body.textContent + "|" + list.textContent;`)
	if want := "Aitself? not yetB? not yetitself|Nothing was heard yet."; got != want {
		t.Errorf("pairs: %q, want %q", got, want)
	}
}

// testPageTimes: times are in UTC everywhere, and have their date unless it is today's.
func testPageTimes(t *testing.T, p *tab) {
	got := module[string](t, p, "numbers.js", `return [m.dateTime(86399), m.clock(86399, 5), m.clock(86399, 86400), m.dateTime(1e99)].join("|");`)
	if want := "1970-01-01 23:59:59Z|23:59:59Z|1970-01-01 23:59:59Z|1e+99"; got != want {
		t.Errorf("times: %s, want %s", got, want)
	}
}

// testPageTry: while a request of the button is on its way, clicks do nothing. Its error is about
// the selection at that time.
func testPageTry(t *testing.T, p *tab) {
	got := module[string](t, p, "tryit.js", `
	  const all = document.createElement("div");
	  all.innerHTML = "<form><select name=server></select></form><details></details><div></div>";
	  const [form, report, actions] = all.children;
	  const tryIt = new m.TryIt({ report, form, reply: document.createElement("output"), actions });
	  tryIt.build({ controls: true, servers: [] });
	  const real = window.fetch;
	  const refuse = [];
	  window.fetch = () => new Promise((resolve) => refuse.push(() => resolve(new Response("no", { status: 409 }))));
	  const said = [];
	  tryIt.show("server", { name: "A" });
	  tryIt.button.click();
	  tryIt.button.click();
	  said.push(refuse.length);
	  tryIt.show("server", { name: "B" });
	  refuse[0]();
	  const settled = async () => { while (tryIt.busy) await new Promise((r) => setTimeout(r, 5)); };
	  await settled();
	  said.push(tryIt.note.textContent);
	  tryIt.button.click();
	  refuse[1]();
	  await settled();
	  said.push(tryIt.note.textContent);
	  tryIt.show("server", { name: "A" });
	  said.push(tryIt.note.textContent);
	  window.fetch = real;
	  return said.join("|");`)
	if want := "1||no|"; got != want {
		t.Errorf("the button: %q, want %q", got, want)
	}
}

// testPageWords: figures that are not known are left out of the words of a server, and a lag that is
// not measurable is not "0.0 ms".
func testPageWords(t *testing.T, p *tab) {
	got := module[[]string](t, p, "model.js", `
	  const words = (server) => m.herdModel({ servers: [{ name: "A" }], edges: [] }, { heard: 0, bus: "connected", edges: [], servers: [{ name: "A", state: "up", heard: 0, ...server }] }, 0).servers[0].words;
	  return [words({ clients: 1 }), words({ clients: 1, out: 2 }), words({ clients: 2, in: 1, out: 0, lagMs: 0, heartbeat: 1, sessions: 0 })];`)
	want := []string{
		"up: 1 client", "up: 1 client, 2.0 records out per second",
		"up: 2 clients, 1.0 records in and 0 out per second, lag < 0.1 ms, heartbeat 1 s ago, 0 sessions",
	}
	if strings.Join(got, "|") != strings.Join(want, "|") {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}
