package main

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// TestPage is the tests of the page in a real browser. Each has a tab of its own.
func TestPage(t *testing.T) {
	t.Parallel()
	b := startBrowser(t)
	for name, test := range map[string]func(*testing.T, browser){
		"graph of goloman":   func(t *testing.T, b browser) { testPageGraph(t, b, "goloman") },
		"graph of riley":     func(t *testing.T, b browser) { testPageGraph(t, b, "riley") },
		"a server is killed": testPageKilled,
		"a frozen bus":       testPageFrozen,
		"look":               testPageLook,
		"load":               testPageLoad,
		"keyboard":           testPageKeyboard,
		"accessibility tree": testPageTree,
		"a report":           testPageReport,
		"reduced motion":     testPageStill,
		"ten tabs":           testPageTabs,
		"stream of clients":  testPageStream,
		"server away":        testPageAway,
		"cut and stop":       testPageCut,
		"parts":              testPageParts,
		"search":             testPageSearch,
		"keys":               testPageKeys,
		"touch":              testPageTouch,
		"many servers":       func(t *testing.T, b browser) { testPageMany(t, b, 50) },
		"nine servers":       func(t *testing.T, b browser) { testPageMany(t, b, 9) },
		"twelve servers":     func(t *testing.T, b browser) { testPageMany(t, b, 12) },
		"hidden":             testPageHidden,
		"worker ends":        testPageWorker,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, b)
		})
	}
}

// label is a selector of a server's or an edge's item in the graph.
func label(words string) string { return fmt.Sprintf(`[aria-label^="%s"]`, words) }

// testPageGraph: each server and each edge is in the picture, in its words, and in the tables.
func testPageGraph(t *testing.T, b browser, spec string) {
	h := startUp(t, spec)
	p := b.open(t, h.ops+"/", desktop)
	names := h.graph.Servers()
	p.awaitText("#headline", fmt.Sprintf("^All %d servers are up and hold the same 0 clients\\.$", len(names)))
	for _, name := range names {
		p.awaitText(label(name+", server, up: ")+" .state", "^up$")
		p.awaitText(fmt.Sprintf("#servers-rows tr:nth-child(%d)", 1+indexOf(names, name)), "^"+name+"✓ up")
	}
	edges := h.graph.Edges()
	for _, e := range edges {
		p.await(fmt.Sprintf("document.querySelector(%q)", label(fmt.Sprintf("%s to %s, edge, in step: ", e.A, e.B))+".in-step .bar"))
	}
	n := len(names)
	p.await(fmt.Sprintf("[...document.querySelectorAll('#pairs-rows td')].filter(c => c.textContent === '✓ in step').length === %d", n*(n-1)))
	for what, want := range map[string]int{".item.server": n, ".item.edge": len(edges), "#servers-rows tr": n} {
		if got := eval[int](p, fmt.Sprintf("document.querySelectorAll(%q).length", what)); got != want {
			t.Errorf("%d elements %s, want %d", got, what, want)
		}
	}
	if got := p.text("#differences"); got != "No difference." {
		t.Errorf("differences: %q", got)
	}
}

// testPageMany: with many servers the graph shows all of them apart, with their names, none over another, on a large screen
// and a small one. A topology that is a list of edges is clipped in the title.
func testPageMany(t *testing.T, b browser, servers int) {
	var edges []string
	for i := 1; i < servers; i++ {
		edges = append(edges, fmt.Sprintf("S%d-S%d", (i-1)/3, i))
	}
	spec := strings.Join(edges, ",")
	h := startUp(t, spec)
	p := b.open(t, h.ops+"/", desktop)
	for _, l := range []look{desktop, {width: 768, height: 1024, scheme: "light"}} {
		p.show(l)
		p.awaitText("#headline", fmt.Sprintf("^All %d servers are up and hold the same 0 clients\\.$", servers))
		p.await(fmt.Sprintf(`document.querySelectorAll("#graph-picture .server.up").length === %d`, servers))
		overlaps := eval[[]string](p, `(() => {
		  const picture = document.querySelector("#graph-picture").getBoundingClientRect();
		  const boxes = [...document.querySelectorAll("#graph-picture .server .shape, #graph-picture text")].filter((e) => e.matches(".shape") || e.textContent).map((e) => {
		    const r = e.getBoundingClientRect();
		    return { what: e.parentElement.getAttribute("aria-label").split(",")[0] + "'s " + e.getAttribute("class"), left: r.left + 1, right: r.right - 1, top: r.top + 2, bottom: r.bottom - 2 };
		  });
		  const found = [];
		  for (const [i, a] of boxes.entries()) {
		    if (a.left < picture.left || a.right > picture.right || a.top < picture.top || a.bottom > picture.bottom) found.push(a.what + " is outside");
		    for (const b of boxes.slice(i + 1)) if (a.left < b.right && b.left < a.right && a.top < b.bottom && b.top < a.bottom) found.push(a.what + " over " + b.what);
		  }
		  return found;
		})()`)
		if len(overlaps) > 0 {
			t.Errorf("%d px wide: %q", l.width, overlaps)
		}
		if rows := eval[int](p, `document.querySelectorAll("#servers-rows tr").length`); rows != servers {
			t.Errorf("the table has %d servers, want %d", rows, servers)
		}
	}
	if got, whole := p.text("#topology"), eval[string](p, `document.querySelector("#topology").title`); len([]rune(got)) != 40 || whole != spec {
		t.Errorf("the title has the topology as %q, and in full as %q", got, whole)
	}
}

func indexOf(names []string, name string) int {
	for i, n := range names {
		if n == name {
			return i
		}
	}
	return -1
}

// testPageKilled: a server that is killed is down within 4 s, in the picture, the table and in
// words; when it runs again it is up.
func testPageKilled(t *testing.T, b browser) {
	const spec = "A-B,B-C"
	h := startProcesses(t, spec)
	_, url := startWatch(t, h.busEnv(h.brokerAt)...)
	p := b.open(t, url+"/", desktop)
	p.awaitText("#headline", "^All 3 servers are up")
	p.do(focus(label("C, server, ")))
	p.press("\r")
	p.awaitText("#selection-title", "^C$")
	if !eval[bool](p, `document.querySelector("#report").hidden && document.querySelector("#selection-actions").children.length === 0`) {
		t.Error("the page of herd watch has controls")
	}
	// A machine that is busy may be late: one of three times must be in time.
	for attempt := 1; ; attempt++ {
		h.servers["C"].kill()
		killed := time.Now()
		p.awaitText(label("C, server, down")+" .state", "^down")
		took := time.Since(killed)
		if took <= 4*time.Second {
			break
		}
		if attempt == 3 {
			t.Errorf("C is down on the page after %v, want 4 s at most", took)
			break
		}
		h.serve("C")
		p.awaitText("#headline", "^All 3 servers are up and hold the same")
	}
	p.awaitText("#headline", "^C is down")
	p.awaitText("#servers-rows tr:nth-child(3)", "^C× down")
	p.awaitText("#announcements", "C is down")
	p.awaitText(label("B to C, edge, down"), "down")
	h.serve("C")
	p.awaitText("#headline", "^All 3 servers are up and hold the same")
	if s := p.text(label("C, server, ") + " .state"); !strings.HasPrefix(s, "up") {
		t.Errorf("C is %q on the page", s)
	}
}
