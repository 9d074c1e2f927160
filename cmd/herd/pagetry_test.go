package main

import (
	"fmt"
	"regexp"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
)

// focus focuses the first element of a selector.
func focus(selector string) chromedp.Action[chromedp.Void] {
	return chromedp.Focus(chromedp.CSS(selector))
}

// testPageReport: a report over TCP shows on the map, in the flood and in the search, with its
// places. Names that look like HTML, or are not UTF-8, are text.
func testPageReport(t *testing.T, b browser) {
	h := startUp(t, "goloman")
	p := b.open(t, h.ops+"/", desktop)
	p.awaitText("#headline", "^All 5 servers are up and hold the same 0 clients")
	p.awaitText("#map-summary", "^0 clients in view")
	p.awaitText("#map-empty", "No client")
	p.awaitText("#flood", "Traffic is low")
	if drawn(p, "map-points") > 0 {
		t.Error("there is something on the map before the first report")
	}
	watchFlood(p)
	c := dial(t, h.addresses[3]) // Welsh, which has one neighbour
	reply := c.ask(fmt.Sprintf("IAMAT kiwi +34.068930-118.445127 %d", time.Now().Unix()))
	p.awaitText("#map-summary", "^1 client in view")
	p.awaitText("#flood", "^kiwi: all 5 servers .* Welsh → Holiday, ")
	p.awaitText("#headline", "hold the same 1 client")
	p.await(discs + " > 0")
	p.await("flooded.hop >= 4") // at least the edges over which the other servers got it

	p.do(focus("#search-form input"))
	p.press("kiwi\r")
	p.awaitText("#search-result .record", "^"+regexp.QuoteMeta(reply)+"$")
	p.awaitText("#search-result", "Every server has the same record")
	p.await(`document.querySelectorAll("#search-result .records tbody tr").length === 5`)
	p.awaitText("#search-result .places", "Westwood|Los Angeles|Santa Monica")
	p.awaitText("#map-summary", "km across, around \\+34\\.06.*-118\\.4")
	if got := eval[string](p, "location.search"); got != "?client=kiwi" {
		t.Errorf("the address is %q", got)
	}
	before := drawn(p, "map-marks")
	c.ask(fmt.Sprintf("IAMAT kiwi +34.09-118.46 %d", time.Now().Unix()+1))
	p.await(fmt.Sprintf("%s > %d", drawnOn("map-marks"), before)) // its trail
	p.awaitText("#search-result .record", "\\+34\\.09-118\\.46")

	for _, name := range []string{"<img/src=x/onerror=throw(1)>", "\xff\xfe%41&?"} {
		c.ask(fmt.Sprintf("IAMAT %s +34.07-118.44 %d", name, time.Now().Unix()))
	}
	p.awaitText("#map-summary", "^3 clients in view")
	p.click("#in-view summary")
	p.awaitText("#in-view-list", "<img/src=x/onerror=throw\\(1\\)>")
	p.await(`[...document.querySelectorAll("#in-view-list button")].find((b) => b.textContent.includes("%41&?"))?.click() ?? true`)
	p.awaitText("#search-result", "Every server has the same record")
	if got := eval[string](p, "location.search"); got != "?client=%FF%FE%2541%26%3F" {
		t.Errorf("the address is %q", got)
	}
	p.do(focus("#near-form input"))
	p.press("kiwi\r")
	p.awaitText("#search-result", "^3 clients within 10 km")
}

// drawnOn is an expression: the number of pixels of a canvas that are drawn.
func drawnOn(canvas string) string {
	return fmt.Sprintf("((c) => c.getContext('2d').getImageData(0, 0, c.width, c.height).data.reduce((n, v, i) => n + (i %% 4 === 3 && v > 0), 0))(document.getElementById(%q))", canvas)
}

// discs is an expression: the number of pixels of the map that have the colour of a client's disc.
const discs = `((c) => {
  const { data } = c.getContext("2d").getImageData(0, 0, c.width, c.height);
  const colours = ["--point", "--point-new"].map((name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim());
  let n = 0;
  for (let i = 0; i < data.length; i += 4) n += colours.includes("#" + [0, 1, 2].map((k) => data[i + k].toString(16).padStart(2, "0")).join("")) && data[i + 3] === 255;
  return n;
})(document.getElementById("map-points"))`

func drawn(p *tab, canvas string) int {
	p.t.Helper()
	return eval[int](p, drawnOn(canvas))
}

// watchFlood makes the page count the marks of floods, in flooded.hop and flooded.crossed.
func watchFlood(p *tab) {
	p.t.Helper()
	eval[bool](p, `(() => {
	  window.flooded = { hop: 0, crossed: 0 };
	  new MutationObserver((all) => {
	    for (const m of all) for (const n of m.addedNodes) flooded[n.getAttribute?.("class")]++;
	  }).observe(document.querySelector("#graph-picture"), { childList: true, subtree: true });
	  return true;
	})()`)
}

// testPageStill: with reduced motion nothing runs along the edges, and the edges that a report
// crosses are marked. The page's address may ask who is near a place.
func testPageStill(t *testing.T, b browser) {
	h := startUp(t, "goloman")
	c := dial(t, h.addresses[3])
	c.ask("IAMAT moa -33.868800+151.209300 1621464827.959498503")
	l := desktop
	l.still = true
	p := b.open(t, h.ops+"/?near=-33.86%2B151.2&km=5", l)
	p.awaitText("#search-result", "^1 client within 5 km")
	p.awaitText("#map-summary", "^1 client in view .*-33\\.8")
	p.awaitText("#flood", "Traffic is low")
	watchFlood(p)
	c.ask("IAMAT kiwi +34.068930-118.445127 1621464827.959498503")
	p.await("flooded.crossed >= 4")
	if hops := eval[int](p, "flooded.hop"); hops > 0 {
		t.Errorf("%d dots run along edges", hops)
	}
	p.awaitText("#map-legend", "^A disc is a client\\. Select one for its records and its trail\\.$") // without what has just moved
	p.do(chromedp.Navigate(h.ops + "/?near=%2B70-40&km=5"))
	p.awaitText("#search-result", "^Nobody is within 5 km\\.")
	p.awaitText("#map-empty", "^No client is in this area\\.$")
	p.do(chromedp.Navigate(h.ops + "/?near=%2B70-40&km=abc"))
	p.awaitText("#search-result", "^“abc” is not a number of kilometres")
}

// matches reports whether a text matches a regular expression.
func matches(expression, text string) bool { return regexp.MustCompile(expression).MatchString(text) }

// testPageCut: an edge that is cut with its button is cut in the picture, reports differ in
// words, and it heals with the same button.
func testPageCut(t *testing.T, b browser) {
	h := startUp(t, "goloman")
	p := b.open(t, h.ops+"/", desktop)
	p.awaitText("#headline", "^All 5 servers are up and hold the same 0 clients")
	item := label("Holiday to Welsh, edge, ")
	p.do(focus(item))
	p.press("\r")
	p.awaitText("#selection-title", "^Holiday – Welsh$")
	p.click("#selection-actions button")
	p.awaitText(item+" .state", "^cut$")
	p.awaitText("#headline", "Holiday–Welsh is cut")
	dial(t, h.addresses[0]).ask("IAMAT kiwi +34.068930-118.445127 1621464827.959498503")
	p.awaitText("#differences", "Welsh")
	p.awaitText("#selection-actions button", "Heal this edge")
	p.click("#selection-actions button")
	p.awaitText(item+" .state", "^(in step|[0-9.]+/s)$")
	p.awaitText("#headline", "^All 5 servers are up and hold the same 1 client")

	p.do(focus(label("Welsh, server, ")))
	p.press("\r")
	p.awaitText("#selection-actions button", "Stop this server")
	p.click("#selection-actions button")
	p.awaitText("#headline", "Welsh is down")
	p.awaitText("#selection-actions button", "Start this server")
	p.awaitText(label("Welsh, server, "), "last heard [0-9]+ s ago")
	for _, width := range []int64{360, 768, desktop.width} {
		p.show(look{width: width, height: 900, scheme: "light"})
		for _, fault := range eval[[]string](p, `(() => {
		  const panel = document.querySelector("#selection").getBoundingClientRect();
		  const card = document.querySelector("#graph").getBoundingClientRect();
		  const wide = [...document.querySelectorAll("#graph text")].filter((e) => { const r = e.getBoundingClientRect(); return r.left < card.left || r.right > card.right; });
		  if (wide.length > 0) return [wide[0].textContent];
		  return [...document.querySelectorAll("#selection-text, #selection-actions button")].map((e) => [e, e.getBoundingClientRect()])
		    .filter(([, r]) => r.top < panel.top || r.bottom > panel.bottom || r.right > panel.right || panel.bottom > card.bottom).map(([e, r]) => e.id + " " + r.bottom + " of " + panel.bottom);
		})()`) {
			t.Errorf("at %d px this is outside of its box: %s", width, fault)
		}
	}
	p.show(desktop)
	p.click("#selection-actions button")
	p.awaitText("#headline", "^All 5 servers are up and hold the same 1 client")

	// A click on the map reports from there.
	p.click("#report summary")
	p.do(chromedp.ScrollIntoView(chromedp.CSS("#map-picture")))
	p.click("#map-picture")
	p.awaitText("#report-reply", "^AT Goloman .* kiwi ")
}
