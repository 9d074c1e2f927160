package main

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/accessibility"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp/kb"
)

// contrast is an expression: the texts whose contrast with their background is below 4.5:1. The
// colours behind SVG text are those of the nearest HTML element.
const contrast = `(() => {
  const parse = (c) => (c.match(/[\d.]+/g) ?? [0, 0, 0, 0]).map(Number);
  const luminance = ([r, g, b]) => {
    const f = (v) => ((v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * f(r) + 0.7152 * f(g) + 0.0722 * f(b);
  };
  const behind = (e) => {
    for (; e; e = e.parentElement) {
      const c = parse(getComputedStyle(e).backgroundColor);
      if (c.length < 4 || c[3] === 1) return c;
    }
    return [255, 255, 255];
  };
  const found = new Set();
  const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walk.nextNode()) {
    const e = walk.currentNode.parentElement;
    if (!walk.currentNode.textContent.trim() || !e.checkVisibility() || e.closest("noscript, script, .unseen, .skip")) continue;
    const s = getComputedStyle(e);
    const [a, b] = [luminance(parse(e instanceof SVGElement ? s.fill : s.color)), luminance(behind(e))].sort((x, y) => y - x);
    const ratio = (a + 0.05) / (b + 0.05);
    if (ratio < 4.5) found.add(ratio.toFixed(2) + " " + walk.currentNode.textContent.trim().slice(0, 40));
  }
  return [...found];
})()`

// small is an expression: the controls that are smaller than 24 by 24 pixels, but links in text.
const small = `[...document.querySelectorAll("button, input, select, summary, [role=button], footer a")]
  .filter((e) => e.checkVisibility())
  .map((e) => [e, (e.querySelector(".hit, .halo") ?? e).getBoundingClientRect()])
  .filter(([e, r]) => e.matches(".edge") ? getComputedStyle(e.querySelector(".hit")).strokeWidth.replace("px", "") < 24 : r.width < 24 || r.height < 24)
  .map(([e, r]) => e.outerHTML.slice(0, 60) + " " + r.width + "x" + r.height)`

// testPageLook: contrast and sizes of targets in both schemes, at all widths, without a
// horizontal scroll bar; and on paper.
func testPageLook(t *testing.T, b browser) {
	h := startUp(t, "goloman")
	dial(t, h.addresses[0]).ask("IAMAT kiwi +34.068930-118.445127 1621464827.959498503")
	p := b.open(t, h.ops+"/?client=kiwi", desktop)
	p.awaitText("#headline", "^All 5 servers are up and hold the same")
	p.awaitText("#search-result", "Every server has the same record")
	p.awaitText("#search-result", "Places within")
	for _, width := range []int64{1440, 768, 320} {
		for _, scheme := range []string{"light", "dark"} {
			p.show(look{width: width, height: 800, scheme: scheme})
			for _, fault := range eval[[]string](p, contrast) {
				t.Errorf("%d px, %s: contrast %s", width, scheme, fault)
			}
			if wide := eval[float64](p, `document.querySelector("#shortcuts").getBoundingClientRect().width`); wide > 40 {
				t.Errorf("%d px: a checkbox is %v px wide", width, wide)
			}
			for _, fault := range eval[[]string](p, small) {
				t.Errorf("%d px: target %s", width, fault)
			}
			if wide := eval[int64](p, "document.scrollingElement.scrollWidth"); wide > width {
				t.Errorf("at %d px the page is %d px wide", width, wide)
			}
		}
	}
	p.show(look{width: 800, height: 1000, scheme: "dark"})
	// brightness is the red of a corner of the map.
	const brightness = `document.querySelector("#map-land").getContext("2d").getImageData(1, 1, 1, 1).data[0]`
	p.await(brightness + " < 80")
	eval[bool](p, `(matchMedia("print").addEventListener("change", (e) => { if (e.matches) window.printed = `+brightness+`; }), true)`)
	call(p, page.PrintToPDF, page.PrintToPDFParams{})
	if got := eval[int](p, "window.printed ?? -1"); got < 180 {
		t.Errorf("the map is printed with the brightness %d, want that of the light scheme", got)
	}
	p.await(brightness + " < 80")
	p.show(look{width: 800, height: 1000, scheme: "dark", media: "print"})
	if got := eval[int](p, `[...document.querySelectorAll("button, form, summary")].filter((e) => e.checkVisibility()).length`); got > 0 {
		t.Errorf("%d controls are printed", got)
	}
	for _, fault := range eval[[]string](p, contrast) {
		t.Errorf("printed: contrast %s", fault)
	}
}

// testPageLoad: the page is small, and nothing moves while it loads.
func testPageLoad(t *testing.T, b browser) {
	h := startUp(t, "goloman")
	p := b.open(t, h.ops+"/", desktop)
	p.awaitText("#headline", "^All 5 servers are up")
	p.await(`document.querySelector("#map-land").width > 300 && performance.getEntriesByName(new URL("land.bin", location).href).length > 0`)
	if n := eval[int](p, `[performance.getEntriesByType("navigation")[0], ...performance.getEntriesByType("resource")].filter((e) => !e.name.includes("/api/")).reduce((sum, e) => sum + e.transferSize, 0)`); n == 0 || n > 200_000 {
		t.Errorf("the page transfers %d bytes, want 200,000 at most", n)
	}
	for _, shift := range eval[[]string](p, `new Promise((resolve) => {
	  const found = [];
	  new PerformanceObserver((list) => {
	    for (const e of list.getEntries()) {
	      for (const s of e.sources) found.push(e.value.toFixed(5) + " " + (s.node?.id || s.node?.parentElement?.outerHTML.slice(0, 80)) + " " + JSON.stringify(s.previousRect) + " " + JSON.stringify(s.currentRect));
	    }
	  }).observe({ type: "layout-shift", buffered: true });
	  setTimeout(() => resolve(found), 500);
	})`) {
		t.Errorf("layout shift: %s", shift)
	}
}

// testPageKeyboard: the tab key reaches every control in the order of the page, and the focus is
// visible. The graph is one stop, within which the arrow keys go.
func testPageKeyboard(t *testing.T, b browser) {
	h := startUp(t, "goloman")
	dial(t, h.addresses[0]).ask("IAMAT kiwi +34.068930-118.445127 1621464827.959498503")
	p := b.open(t, h.ops+"/", desktop)
	p.awaitText("#headline", "^All 5 servers are up and hold the same 1 client")
	p.awaitText("#map-summary", "^1 client in view")
	const focused = `(() => { const e = document.activeElement; return e.id || e.name || e.getAttribute("aria-label")?.split(",")[0] || e.textContent.trim(); })()`
	const visible = `(() => { const e = document.activeElement; const s = getComputedStyle(e); const halo = e.querySelector(".halo"); return Boolean(e.matches(":focus-visible") && (s.outlineStyle !== "none" || (halo && getComputedStyle(halo).stroke !== "none" && !/, 0\)/.test(getComputedStyle(halo).stroke)))); })()`
	var stops []string
	for range 40 {
		p.press(kb.Tab)
		stop := eval[string](p, focused)
		if eval[bool](p, "document.activeElement === document.body") {
			break // after the last
		}
		if !eval[bool](p, visible) {
			t.Errorf("the focus on %q is not visible", stop)
		}
		stops = append(stops, stop)
	}
	got := strings.Join(stops, "\n")
	if !strings.HasPrefix(got, "Skip to the graph\nGoloman\nmap-picture\nmap-in\nmap-out\nmap-world\n") || !strings.Contains(got, "servers-scroll\npairs-scroll\nclient\nFind\nat\nkm\nWho is near\nsearch-result\ntext\nkind\nevents-pause\nevents-list") {
		t.Errorf("the tab key stops at:\n%s", got)
	}

	p.do(focus(".item[tabindex='0']"))
	p.press(kb.ArrowRight)
	p.press(kb.Enter)
	p.awaitText("#selection-title", "^Hands$")
	p.awaitText("#selection-text", "^Up: 1 client, ")
	p.press(kb.End)
	p.press(" ")
	p.awaitText("#selection-title", "^Holiday – Wilkes$")
	p.press("m")
	before := p.text("#map-summary")
	p.press("+")
	p.await(fmt.Sprintf("document.querySelector('#map-summary').textContent !== %q", before))
	p.press("0")
	p.awaitText("#map-summary", `\(the world from [0-9]+° S to [0-9]+° N\)`)

	p.press("/")
	p.await("document.activeElement.name === 'client'")
	eval[string](p, "document.activeElement.value = ''") // a synthetic key comes through where a real one does not
	p.press("kiwi")
	p.press(kb.Enter)
	p.awaitText("#search-result", "Every server has the same record")
}

// axText is the text of a value of the accessibility tree; "" for none.
func axText(v *accessibility.Value) (text string) {
	if v != nil {
		json.Unmarshal(v.Value, &text) // other values are no text
	}
	return text
}

// testPageTree: the accessibility tree has each fact that the picture has.
func testPageTree(t *testing.T, b browser) {
	h := startUp(t, "goloman")
	dial(t, h.addresses[0]).ask("IAMAT kiwi +34.068930-118.445127 1621464827.959498503")
	p := b.open(t, h.ops+"/", desktop)
	p.awaitText("#headline", "^All 5 servers are up and hold the same 1 client")
	p.awaitText("#map-summary", "^1 client in view")
	tree := call(p, accessibility.GetFullAXTree, accessibility.GetFullAXTreeParams{})
	var lines []string
	for _, n := range tree.Nodes {
		if n.Ignored || n.Role == nil {
			continue
		}
		name, role := axText(n.Name), axText(n.Role)
		lines = append(lines, role+" "+name)
		switch role {
		case "button", "textbox", "searchbox", "combobox", "link", "spinbutton", "region", "image":
			if name == "" {
				t.Errorf("a %s has no name", role)
			}
		}
	}
	all := strings.Join(lines, "\n")
	var facts []string
	for _, name := range h.graph.Servers() {
		facts = append(facts, "button "+name+", server, up: 1 client, ", "rowheader "+name)
	}
	for _, e := range h.graph.Edges() {
		facts = append(facts, fmt.Sprintf("button %s to %s, edge, in step: ", e.A, e.B))
	}
	facts = append(facts, "heading Servers and edges", "heading Clients", "heading Find a client", "heading Servers with the same records", "heading Events",
		"application Map. Arrow keys move it", "StaticText 1 client in view (the world from ", "button Zoom in", "status ", "StaticText live", "list Events", "columnheader Digest", "cell ✓ in step")
	for _, fact := range facts {
		if !strings.Contains(all, fact) {
			t.Errorf("the accessibility tree has no %q", fact)
		}
	}
	if t.Failed() {
		t.Log(all)
	}
}
