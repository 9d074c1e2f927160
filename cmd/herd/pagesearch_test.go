package main

import (
	"fmt"
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
	p.await(fmt.Sprintf("flood.querySelector('bdi')?.textContent.startsWith(%q)", "\u202Edrow"))
	p.await(`[...document.querySelectorAll("#search-result button bdi")].some((b) => b.textContent.endsWith("…"))`)

	eval[bool](p, "(window.fetch = () => Promise.reject(new TypeError('test')), true)")
	p.awaitText("#search-result", "^That failed: the page's server cannot be reached")
	p.awaitText("#search-age", "^as of [0-9]+ s ago$")
	p.awaitText("#announcements", "The search failed")
}
