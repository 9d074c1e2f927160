package main

import (
	"strings"
	"testing"
)

// testPageFrozen: while the page hears nothing from the bus, it shows the age of each figure after
// 3 s, and no state as if it were known. When the bus is back, so are the figures.
func testPageFrozen(t *testing.T, b browser) {
	const spec = "A-B"
	h := startProcesses(t, spec)
	dial(t, h.addresses["A"]).ask("IAMAT kiwi +34.068930-118.445127 1621464827.959498503")
	r := startRelay(t, h.brokerAt)
	_, url := startWatch(t, append(h.busEnv(h.brokerAt), "HERD_NATS_URL="+r.url())...)
	p := b.open(t, url+"/", desktop)
	p.awaitText("#headline", "^All 2 servers are up and hold the same 1 client\\.")
	p.awaitText("#map-summary", "^1 client in view")
	p.allow("503|429") // while the bus is frozen, no server serves followers

	r.freeze()
	// When the page says that all is old, the totals have their age at once.
	const totals = `[...document.querySelectorAll("#totals dd")].map((e) => e.textContent).join("; ")`
	p.await(`(window.totalsThen ??= /Nothing was heard from the herd for [0-9]+ s/.test(headline.textContent) ? ` + totals + ` : undefined)`)
	if got := eval[string](p, "totalsThen"); strings.Count(got, " s ago") != 4 {
		t.Errorf("when the headline says that all is old, the totals are %q", got)
	}
	for _, id := range []string{"total-servers", "total-edges", "total-clients", "total-rate"} {
		p.awaitText("#"+id, " [0-9]+ s ago$")
	}
	for _, id := range []string{"graph-age", "map-age", "servers-age", "pairs-age"} {
		p.awaitText("#"+id, "^last heard [0-9]+ s ago")
	}
	p.awaitText("#map-summary", "1 client in view .* [0-9]+ s ago$")
	p.awaitText("#differences", "^As of [0-9]+ s ago")
	p.awaitText("#connection", "silent|disconnected|cut off")
	p.awaitText("#announcements", "old|disconnected")
	// Every cell with a figure has its age, and no state but unknown.
	p.await(`[...document.querySelectorAll("#servers-rows td")].every((c) => /^–$|ago$|^\? unknown|^[0-9.]+ s$/.test(c.textContent))`)
	p.await(`[...document.querySelectorAll("#pairs-rows td:not(.same)")].every((c) => /^\? [0-9]+ s ago$/.test(c.textContent))`)
	p.await(`[...document.querySelectorAll("#graph-picture .item")].every((i) => i.classList.contains("unknown") && /, unknown.*as of [0-9]+ s ago$/.test(i.getAttribute("aria-label")))`)
	if !eval[bool](p, `document.querySelector("#map-picture").classList.contains("is-old")`) {
		t.Error("the clients on the map are not marked as old")
	}

	r.thaw()
	p.awaitText("#headline", "^All 2 servers are up and hold the same 1 client\\.")
	p.awaitText("#connection", "live")
	p.await(`!/ago/.test(document.querySelector("#totals").textContent + document.querySelector("#map-summary").textContent)`)
	for _, id := range []string{"graph-age", "map-age", "servers-age", "pairs-age"} {
		p.awaitText("#"+id, "^$")
	}
}
