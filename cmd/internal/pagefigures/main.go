// Command pagefigures measures the page in a real browser, and prints the figures:
//
//	go run ./cmd/internal/pagefigures
//	go run ./cmd/internal/pagefigures -long
//
// It runs a herd and a load on this machine, which share its processors with the browser. With -long it
// looks at the memory for ten minutes instead of one. It needs Chromium. In the end it measures what open pages cost the
// servers, without a browser.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"slices"
	"strconv"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/heapprofiler"
	cdpruntime "github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"

	"herd/cmd/internal/chromium"
	"herd/cmd/internal/trialherd"
)

const clients = 50_000

func main() {
	long := flag.Bool("long", false, "look at the memory for ten minutes")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	ctx, cancel := context.WithTimeout(ctx, 20*time.Minute)
	defer cancel()
	memory := time.Minute
	if *long {
		memory = 10 * time.Minute
	}
	if err := run(ctx, os.Stdout, memory); err != nil {
		fmt.Fprintln(os.Stderr, "pagefigures:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, out io.Writer, memory time.Duration) error {
	herd, err := trialherd.Start(ctx)
	if err != nil {
		return err
	}
	defer herd.Stop()
	browser, stop, err := chromium.Start(ctx)
	if err != nil {
		return err
	}
	defer stop()
	m := measurement{ctx: ctx, out: out, herd: herd, browser: browser}
	fmt.Fprintf(out, "%d processors, %s; browser, herd and load share them\n\n", runtime.NumCPU(), time.Now().UTC().Format("2006-01-02 15:04"))
	for _, step := range []func() error{m.loading, m.fill, func() error { return m.moving(5000) }, func() error { return m.moving(50_000) }, func() error { return m.memory(memory) }, m.cost} {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

// measurement is a herd and a browser that are measured.
type measurement struct {
	ctx     context.Context
	out     io.Writer
	herd    *trialherd.Herd
	browser context.Context
}

// open opens the page in a new tab, and waits until it shows the herd.
func (m measurement) open() (tab context.Context, closeTab func(), err error) {
	tab, closeTab = chromedp.NewContext(m.browser)
	if err := chromedp.Do(tab, chromedp.Navigate(m.herd.Page)); err != nil {
		closeTab()
		return nil, nil, err
	}
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		ready, err := evaluate[bool](tab, `document.getElementById("connection").textContent.includes("live") && /clients? in view/.test(document.getElementById("map-summary").textContent)`)
		if err == nil && !ready && time.Now().After(deadline) {
			err = fmt.Errorf("the page shows no herd within 30 s")
		}
		if err != nil {
			closeTab()
			return nil, nil, err
		}
		if ready {
			return tab, closeTab, nil
		}
	}
}

func evaluate[T any](tab context.Context, expression string) (T, error) {
	return chromedp.Run(tab, chromedp.Evaluate[T](expression, chromedp.EvalAwaitPromise))
}

// loading measures what loading the page takes. The first load fills the cache, and is the
// one whose bytes count.
func (m measurement) loading() error {
	var bytes int
	var paints, empty, shifts []float64
	for range 7 {
		paint, err := m.emptyPage()
		if err != nil {
			return err
		}
		empty = append(empty, paint)
		tab, closeTab, err := m.open()
		if err != nil {
			return err
		}
		figures, err := evaluate[[]float64](tab, `new Promise((resolve) => {
		  let shift = 0;
		  new PerformanceObserver((list) => { for (const e of list.getEntries()) shift += e.value; }).observe({ type: "layout-shift", buffered: true });
		  const files = [performance.getEntriesByType("navigation")[0], ...performance.getEntriesByType("resource").filter((e) => !e.name.includes("/api/"))];
		  const paint = performance.getEntriesByName("first-contentful-paint")[0]?.startTime ?? -1;
		  setTimeout(() => resolve([files.reduce((sum, e) => sum + e.transferSize, 0), paint, shift]), 1500);
		})`)
		closeTab()
		if err != nil {
			return err
		}
		bytes = max(bytes, int(figures[0]))
		paints, shifts = append(paints, figures[1]), append(shifts, figures[2])
	}
	slices.Sort(paints)
	slices.Sort(empty)
	fmt.Fprintf(m.out, "over the wire         %.1f KB with headers, without shared.js, which the worker loads\n", float64(bytes)/1000)
	fmt.Fprintf(m.out, "first paint           %.0f ms median, %.0f ms at most, of %d loads on loopback\n", paints[len(paints)/2], paints[len(paints)-1], len(paints))
	fmt.Fprintf(m.out, "                      %.0f ms median for a page of one word, in the same run\n", empty[len(empty)/2])
	fmt.Fprintf(m.out, "layout shift          %.4f at most\n", slices.Max(shifts))
	return nil
}

// emptyPage is the time of the first paint of a page of one word.
func (m measurement) emptyPage() (ms float64, err error) {
	tab, closeTab := chromedp.NewContext(m.browser)
	defer closeTab()
	if err := chromedp.Do(tab, chromedp.Navigate("data:text/html,<p>word")); err != nil {
		return 0, err
	}
	return evaluate[float64](tab, `new Promise((resolve) => {
	  new PerformanceObserver((list) => { for (const e of list.getEntries()) if (e.name === "first-contentful-paint") resolve(e.startTime); }).observe({ type: "paint", buffered: true });
	  setTimeout(() => resolve(-1), 5000);
	})`)
}

// load runs `herd load` against the herd.
func (m measurement) load(args ...string) *exec.Cmd {
	all := append(append([]string{"load"}, m.herd.Clients...), "--clients", strconv.Itoa(clients), "--settle", "0s", "--check", "0", "--json")
	return exec.CommandContext(m.ctx, m.herd.Program, append(all, args...)...)
}

// fill makes the herd know all clients.
func (m measurement) fill() error {
	if out, err := m.load("--count", strconv.Itoa(2*clients)).CombinedOutput(); err != nil {
		return fmt.Errorf("fill the herd: %w: %s", err, out)
	}
	return nil
}

// moving measures frames and long tasks while clients report.
func (m measurement) moving(rate int) error {
	const seconds = 15
	tab, closeTab, err := m.open()
	if err != nil {
		return err
	}
	defer closeTab()
	load := m.load("--rate", strconv.Itoa(rate), "--duration", strconv.Itoa(seconds+6)+"s", "--count", strconv.Itoa(rate*(seconds+6)))
	if err := load.Start(); err != nil {
		return err
	}
	time.Sleep(3 * time.Second) // the load and the page are under way; the result is an average
	before := cpuOf(m.groups(load))
	begin := time.Now()
	figures, err := evaluate[[]float64](tab, fmt.Sprintf(`new Promise((resolve) => {
	  let tasks = 0, longest = 0, frames = 0, slowest = 0, last = performance.now();
	  const begin = last;
	  const observer = new PerformanceObserver((list) => { for (const e of list.getEntries()) { tasks++; longest = Math.max(longest, e.duration); } });
	  observer.observe({ type: "longtask" });
	  const frame = (now) => {
	    frames++;
	    slowest = Math.max(slowest, now - last);
	    last = now;
	    if (now - begin < %d) requestAnimationFrame(frame);
	    else resolve([frames * 1000 / (now - begin), slowest, tasks, longest, Number(document.getElementById("map-summary").textContent.replaceAll(",", "").match(/([\d.]+) updates/)?.[1])]);
	  };
	  requestAnimationFrame(frame);
	})`, seconds*1000))
	if err != nil {
		return err
	}
	took := time.Since(begin).Seconds()
	after := cpuOf(m.groups(load))
	load.Wait() // its result is of no interest, and its figures are distorted by the browser
	fmt.Fprintf(m.out, "\n%d clients, %d updates/s asked for, %.0f/s on the map\n", clients, rate, figures[4])
	fmt.Fprintf(m.out, "  frames              %.1f/s, the slowest after %.0f ms\n", figures[0], figures[1])
	fmt.Fprintf(m.out, "  tasks over 50 ms    %.0f, the longest %.0f ms\n", figures[2], figures[3])
	fmt.Fprintf(m.out, "  processors used     browser %s, herd %s, load %s\n", share(before, after, "browser", took), share(before, after, "herd", took), share(before, after, "load", took))
	return nil
}

// memory compares the page's heap at the beginning and at the end of a load.
func (m measurement) memory(d time.Duration) error {
	tab, closeTab, err := m.open()
	if err != nil {
		return err
	}
	defer closeTab()
	load := m.load("--rate", "5000", "--duration", (d + 20*time.Second).String(), "--count", "2000000000")
	if err := load.Start(); err != nil {
		return err
	}
	defer load.Wait()
	defer load.Process.Signal(os.Interrupt)
	time.Sleep(10 * time.Second) // arrays have their size now
	fmt.Fprintf(m.out, "\nheap of the page over %v, %d clients, 5000 updates/s\n", d, clients)
	const samples = 5
	for i := range samples {
		if i > 0 {
			time.Sleep(d / (samples - 1))
		}
		if _, err := chromedp.Call(tab, heapprofiler.CollectGarbage, cdp.Empty{}); err != nil {
			return err
		}
		heap, err := chromedp.Call(tab, cdpruntime.GetHeapUsage, cdp.Empty{})
		if err != nil {
			return err
		}
		fmt.Fprintf(m.out, "  after %-6v        %.2f MB, and %.2f MB of buffers\n", time.Duration(i)*d/(samples-1), heap.UsedSize/1e6, heap.BackingStorageSize/1e6)
	}
	return nil
}
