package main

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"

	"herd/cmd/internal/chromium"
)

// browser is a Chromium without a window, which tests of the page share.
type browser struct{ ctx context.Context }

// startBrowser starts Chromium for a test and its subtests. It skips the test if there is none.
func startBrowser(t *testing.T) browser {
	t.Helper()
	if testing.Short() {
		t.Skip("skipped: -short, so the page is not tested in a browser")
	}
	ctx, stop, err := chromium.Start(context.Background())
	if errors.Is(err, chromium.ErrNone) {
		t.Skipf("skipped: %v, so the page is not tested in a browser", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(stop)
	return browser{ctx}
}

// tab is a tab of a browser that shows the page. When its test ends, errors on the
// console and requests to other origins are faults.
type tab struct {
	t      *testing.T
	ctx    context.Context
	origin string

	mu      sync.Mutex
	faults  []string
	allowed []*regexp.Regexp // faults that the test expects
}

// look is how a tab shows the page.
type look struct {
	width, height int64  // pixels
	scheme        string // "light" or "dark"
	media         string // "" or "print"
	still         bool   // reduced motion
}

var desktop = look{width: 1440, height: 900, scheme: "light"}

// open opens a URL in a new tab.
func (b browser) open(t *testing.T, url string, l look) *tab {
	t.Helper()
	ctx, cancel := chromedp.NewContext(b.ctx)
	t.Cleanup(cancel)
	ctx, cancel = context.WithTimeout(ctx, 2*time.Minute)
	t.Cleanup(cancel)
	origin, _, _ := strings.Cut(strings.TrimPrefix(url, "http://"), "/")
	p := &tab{t: t, ctx: ctx, origin: "http://" + origin + "/"}
	t.Cleanup(p.report)
	p.do(chromedp.Navigate("about:blank"))
	if err := chromedp.Listen(ctx, p.notice); err != nil {
		t.Fatal(err)
	}
	call(p, network.Enable, network.EnableParams{})
	call(p, runtime.Enable, cdp.Empty{})
	call(p, log.Enable, cdp.Empty{})
	call(p, emulation.SetFocusEmulationEnabled, emulation.SetFocusEmulationEnabledParams{Enabled: true})
	p.show(l)
	p.do(chromedp.Navigate(url))
	return p
}

// call sends a command to the tab's browser.
func call[P, R any](p *tab, c cdp.Command[P, R], params P) R {
	p.t.Helper()
	result, err := chromedp.Call(p.ctx, c, params)
	if err != nil {
		p.t.Fatalf("%s: %v", c.Method, err)
	}
	return result
}

// show changes how the tab shows the page.
func (p *tab) show(l look) {
	p.t.Helper()
	motion := "no-preference"
	if l.still {
		motion = "reduce"
	}
	call(p, emulation.SetDeviceMetricsOverride, emulation.SetDeviceMetricsOverrideParams{Width: l.width, Height: l.height, DeviceScaleFactor: 1, Mobile: l.width < 500})
	call(p, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Media: l.media, Features: []*emulation.MediaFeature{
		{Name: "prefers-color-scheme", Value: l.scheme}, {Name: "prefers-reduced-motion", Value: motion},
	}})
}

func (p *tab) notice(event any) {
	fault := ""
	switch e := event.(type) {
	case *runtime.EventConsoleAPICalled:
		if e.Type == "error" || e.Type == "warning" {
			fault = fmt.Sprintf("console: %s", e.Args[0].Value)
		}
	case *runtime.EventExceptionThrown:
		fault = "exception: " + e.ExceptionDetails.Text
		if e.ExceptionDetails.Exception != nil {
			fault += " " + e.ExceptionDetails.Exception.Description
		}
	case *log.EventEntryAdded:
		if e.Entry.Level == "error" {
			fault = fmt.Sprintf("log: %s %s", e.Entry.Text, e.Entry.URL)
		}
	case *network.EventRequestWillBeSent:
		if u := e.Request.URL; !strings.HasPrefix(u, p.origin) && !strings.HasPrefix(u, "data:") && u != "about:blank" {
			fault = "request to " + u
		}
	}
	if fault != "" {
		p.mu.Lock()
		defer p.mu.Unlock()
		if len(p.faults) < 20 {
			p.faults = append(p.faults, fault)
		}
	}
}

// allow makes errors that match an expression no faults: those that the test provokes.
func (p *tab) allow(expression string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.allowed = append(p.allowed, regexp.MustCompile(expression))
}

func (p *tab) report() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, f := range p.faults {
		ok := false
		for _, a := range p.allowed {
			ok = ok || a.MatchString(f)
		}
		if !ok {
			p.t.Errorf("the page: %s", f)
		}
	}
}

func (p *tab) do(steps ...chromedp.Action[chromedp.Void]) {
	p.t.Helper()
	if err := chromedp.Do(p.ctx, steps...); err != nil {
		p.t.Fatal(err)
	}
}

// eval returns the value of an expression.
func eval[T any](p *tab, expression string) T {
	p.t.Helper()
	v, err := chromedp.Run(p.ctx, chromedp.Evaluate[T](expression, chromedp.EvalAwaitPromise))
	if err != nil {
		p.t.Fatalf("%s: %v", expression, err)
	}
	return v
}

// text is the text of the first element of a CSS selector; "" if there is none.
func (p *tab) text(selector string) string {
	p.t.Helper()
	return eval[string](p, fmt.Sprintf("document.querySelector(%q)?.textContent ?? ''", selector))
}

// await waits until an expression is true, and returns how long it took.
func (p *tab) await(expression string) time.Duration {
	p.t.Helper()
	begin := time.Now()
	for !eval[bool](p, "Boolean("+expression+")") {
		if time.Since(begin) > patience/2 {
			p.t.Fatalf("not within %v: %s\nThe page says: %s", patience/2, expression, eval[string](p, "document.body.innerText"))
		}
		time.Sleep(30 * time.Millisecond)
	}
	return time.Since(begin)
}

// awaitText waits until the text of an element matches a regular expression.
func (p *tab) awaitText(selector, expression string) time.Duration {
	p.t.Helper()
	return p.await(fmt.Sprintf("new RegExp(%q).test(document.querySelector(%q)?.textContent ?? '')", expression, selector))
}

// click clicks the middle of the first element of a selector.
func (p *tab) click(selector string) {
	p.t.Helper()
	p.do(chromedp.ScrollIntoView(chromedp.CSS(selector)), chromedp.Click(chromedp.CSS(selector)))
}

// press presses keys, which may be of package kb.
func (p *tab) press(keys string) {
	p.t.Helper()
	p.do(chromedp.KeyEvent(keys))
}
