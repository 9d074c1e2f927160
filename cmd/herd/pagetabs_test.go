package main

import (
	"fmt"
	"testing"

	"github.com/chromedp/chromedp"
)

// testPageTabs: ten tabs share one feed, and all are live. Those that were opened last have a stream of
// clients. When one of these is closed, another gets its stream, and so does a tab whose window gets
// the focus, at once. Requests still get through.
func testPageTabs(t *testing.T, b browser) {
	h := startUp(t, "goloman")
	var tabs []*tab
	for range 10 {
		tabs = append(tabs, b.open(t, h.ops+"/", desktop))
	}
	dial(t, h.addresses[0]).ask("IAMAT kiwi +34.068930-118.445127 1621464827.959498503")
	for _, p := range tabs {
		p.awaitText("#headline", "^All 5 servers are up and hold the same 1 client")
	}
	// A map without a stream shows nothing, or what it showed when it had one, with its age.
	const (
		live   = `^1 client in view .* per second\.$`
		waits  = "^Other tabs show the clients"
		stands = "^last heard [0-9]+ s ago: other tabs have the stream$"
	)
	// showing counts the tabs whose map shows the client, and those that wait for their turn.
	showing := func() (shown, waiting int) {
		for _, p := range tabs {
			switch s := p.text("#map-summary"); {
			case matches(live, s):
				shown++
			case matches(waits, s) || matches(stands, p.text("#map-age")):
				waiting++
			}
		}
		return shown, waiting
	}
	expect := func(shown, waiting int) {
		t.Helper()
		eventually(t, func() error {
			if s, w := showing(); s != shown || w != waiting {
				return fmt.Errorf("%d tabs show the client and %d wait, want %d and %d", s, w, shown, waiting)
			}
			return nil
		})
	}
	expect(3, 7)
	last := len(tabs) - 1
	tabs[last].awaitText("#map-summary", live)
	if err := chromedp.Cancel(tabs[last].ctx); err != nil {
		t.Fatal(err)
	}
	tabs = tabs[:last]
	expect(3, 6)
	p := tabs[0]
	eval[bool](p, "dispatchEvent(new Event('focus'))")
	p.awaitText("#map-summary", live)
	expect(3, 6)
	p.do(focus("#search-form input"))
	p.press("kiwi\r")
	p.awaitText("#search-result", "Every server has the same record")
	p.awaitText("#search-result", "Places within")
}
