package main

import (
	"strings"
	"testing"

	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/target"
	"github.com/chromedp/chromedp"
)

// countFeeds makes each document of a tab count the feeds that it opens by itself, in feeds, and what
// the map says, in said. With hidden, the document is hidden until unhide is called.
func countFeeds(p *tab, hidden string) {
	p.t.Helper()
	call(p, page.AddScriptToEvaluateOnNewDocument, page.AddScriptToEvaluateOnNewDocumentParams{Source: `(() => {
	  window.feeds = 0;
	  const Source = window.EventSource;
	  window.EventSource = class extends Source { constructor(...how) { feeds++; super(...how); } };
	  let hidden = ` + hidden + `;
	  Object.defineProperty(document, "hidden", { get: () => hidden });
	  window.unhide = () => { hidden = false; document.dispatchEvent(new Event("visibilitychange")); return true; };
	  window.said = new Set();
	  document.addEventListener("DOMContentLoaded", () => new MutationObserver(() => said.add(document.querySelector("#map-summary").textContent)).observe(document.querySelector("#map-summary"), { childList: true, characterData: true, subtree: true }));
	})()`})
}

// testPageHidden: a tab that loads hidden joins the worker of all tabs when it is shown. While it
// loads, it does not say that other tabs have its stream.
func testPageHidden(t *testing.T, b browser) {
	h := startUp(t, "A-B")
	p := b.open(t, h.ops+"/healthz", desktop)
	p.allow("favicon") // of the page before, which names none
	countFeeds(p, "true")
	p.do(chromedp.Navigate(h.ops + "/"))
	p.await("performance.now() > 4000 && document.readyState === 'complete'")
	eval[bool](p, "unhide()")
	p.awaitText("#headline", "^All 2 servers are up")
	p.awaitText("#map-summary", "^0 clients in view")
	if n := eval[int](p, "feeds"); n > 0 {
		t.Error("the tab has a feed of its own")
	}
	if said := eval[string](p, "[...said].join('; ')"); strings.Contains(said, "Other tabs") {
		t.Errorf("the map said: %s", said)
	}
}

// testPageWorker: when the worker of all tabs ends, a tab starts another and is live again.
func testPageWorker(t *testing.T, b browser) {
	h := startUp(t, "A-B")
	p := b.open(t, h.ops+"/", desktop)
	p.awaitText("#headline", "^All 2 servers are up")
	// worker is the worker of this page among those of all tests.
	worker := func() string {
		for _, i := range call(p, target.GetTargets, target.GetTargetsParams{}).TargetInfos {
			if i.Type == "shared_worker" && strings.HasPrefix(i.URL, p.origin) {
				return string(i.TargetID)
			}
		}
		return ""
	}
	first := worker()
	if first == "" {
		t.Fatal("the page has no shared worker")
	}
	if _, err := chromedp.CallBrowser(p.ctx, target.CloseTarget, target.CloseTargetParams{TargetID: target.ID(first)}); err != nil {
		t.Fatal(err)
	}
	p.awaitText("#connection", "cut off")
	p.awaitText("#connection", "live")
	if second := worker(); second == "" || second == first {
		t.Errorf("the worker is %q, and was %q", second, first)
	}
}
