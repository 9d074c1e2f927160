// Command screenshots makes the pictures of the page that the README shows:
//
//	go run ./cmd/internal/screenshots [DIR]
//
// It runs a herd with clients that move, and writes page-light.png, page-dark.png and
// page-phone.png to DIR, by default cmd/herd/watch/pictures. It needs Chromium.
package main

import (
	"context"
	"fmt"
	"image/png"
	"os"
	"os/signal"
	"path/filepath"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"

	"herd/cmd/internal/chromium"
	"herd/cmd/internal/trialherd"
)

func main() {
	dir := "cmd/herd/watch/pictures"
	if len(os.Args) > 1 {
		dir = os.Args[1]
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	ctx, cancel := context.WithTimeout(ctx, 3*time.Minute)
	defer cancel()
	if err := run(ctx, dir); err != nil {
		fmt.Fprintln(os.Stderr, "screenshots:", err)
		os.Exit(1)
	}
}

// picture is a picture to make. prepare is JavaScript that runs in the page first, and ready is true
// when the picture can be made.
type picture struct {
	name           string
	width, height  int64
	scale          float64
	scheme, query  string
	prepare, ready string
}

var pictures = []picture{
	{
		name: "page-light.png", width: 1440, height: 1340, scale: 1, scheme: "light",
		ready: `/^All 5 servers/.test(headline.textContent) && /^[1-9][\d,]* clients in view .*, [1-9][\d.]* updates/.test(document.getElementById("map-summary").textContent) && document.querySelectorAll(".hop").length > 1`,
	},
	{
		name: "page-phone.png", width: 390, height: 844, scale: 1.5, scheme: "light",
		ready: `/^All 5 servers/.test(headline.textContent) && document.querySelectorAll(".hop").length > 1`,
	},
	{ // a cut edge: Welsh does not get what the others get
		name: "page-dark.png", width: 1440, height: 1340, scale: 1, scheme: "dark",
		prepare: `document.querySelector('[aria-label^="Holiday to Welsh"]').dispatchEvent(new MouseEvent("click", { bubbles: true }));
			setTimeout(() => document.querySelector("#selection-actions button").click(), 500);`,
		ready: `/is cut/.test(headline.textContent) && / 1\d s ago/.test(document.getElementById("pairs-rows").textContent) && document.querySelectorAll(".hop").length > 0`,
	},
}

func run(ctx context.Context, dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	herd, err := trialherd.Start(ctx)
	if err != nil {
		return err
	}
	defer herd.Stop()
	moving, end := context.WithCancel(ctx)
	defer end()
	go move(moving, herd.Clients)
	browser, stop, err := chromium.Start(ctx)
	if err != nil {
		return err
	}
	defer stop()
	for _, p := range pictures {
		if err := p.take(browser, herd.Page, filepath.Join(dir, p.name)); err != nil {
			return fmt.Errorf("%s: %w", p.name, err)
		}
	}
	return nil
}

// take makes a picture, in a tab of its own.
func (p picture) take(browser context.Context, page, file string) error {
	tab, closeTab := chromedp.NewContext(browser)
	defer closeTab()
	if err := chromedp.Do(tab, chromedp.Navigate("about:blank")); err != nil {
		return err
	}
	if _, err := chromedp.Call(tab, emulation.SetDeviceMetricsOverride, emulation.SetDeviceMetricsOverrideParams{Width: p.width, Height: p.height, DeviceScaleFactor: p.scale, Mobile: p.width < 500}); err != nil {
		return err
	}
	if _, err := chromedp.Call(tab, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: p.scheme}}}); err != nil {
		return err
	}
	if err := chromedp.Do(tab, chromedp.Navigate(page+p.query)); err != nil {
		return err
	}
	if err := await(tab, `/^All 5 servers/.test(headline.textContent)`); err != nil {
		return err
	}
	if p.prepare != "" {
		if _, err := chromedp.Run(tab, chromedp.Evaluate[any](p.prepare)); err != nil {
			return err
		}
	}
	if err := await(tab, p.ready); err != nil {
		return err
	}
	shot, err := chromedp.Run(tab, chromedp.CaptureScreenshot())
	if err != nil {
		return err
	}
	small, err := reduce(shot)
	if err != nil {
		return err
	}
	fmt.Printf("%s: %d KB\n", file, (len(small)+999)/1000)
	return os.WriteFile(file, small, 0o644)
}

// await waits until an expression is true, for 45 s at most.
func await(tab context.Context, expression string) error {
	for deadline := time.Now().Add(45 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		ok, err := chromedp.Run(tab, chromedp.Evaluate[bool]("Boolean("+expression+")"))
		if err != nil || ok {
			return err
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("not within 45 s: %s", expression)
		}
	}
}

var encoder = png.Encoder{CompressionLevel: png.BestCompression}
