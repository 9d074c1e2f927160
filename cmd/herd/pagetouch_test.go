package main

import (
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/input"
)

// testPageTouch: on a phone, two fingers zoom the map about the place between them, and one finger moves it. The page itself
// stays where it is.
func testPageTouch(t *testing.T, b browser) {
	h := startUp(t, "A-B")
	p := b.open(t, h.ops+"/", look{width: 390, height: 844, scheme: "light"})
	call(p, emulation.SetTouchEmulationEnabled, emulation.SetTouchEmulationEnabledParams{Enabled: true})
	p.awaitText("#map-summary", "^0 clients in view")
	eval[bool](p, `(document.querySelector("#map-picture").scrollIntoView({ block: "center" }), true)`)
	scrolled := eval[float64](p, "scrollY")
	middle := eval[[]float64](p, `(() => { const r = document.querySelector("#map-picture").getBoundingClientRect(); return [r.left + r.width / 2, r.top + r.height / 2]; })()`)
	touch := func(kind input.DispatchTouchEventType, fingers ...[2]float64) {
		t.Helper()
		params := input.DispatchTouchEventParams{Type: kind, TouchPoints: []*input.TouchPoint{}}
		for i, f := range fingers {
			id := float64(i)
			params.TouchPoints = append(params.TouchPoints, &input.TouchPoint{X: middle[0] + f[0], Y: middle[1] + f[1], ID: &id})
		}
		call(p, input.DispatchTouchEvent, params)
	}
	// shown is how many km are across, and the place in the middle.
	shown := func() (km, lat, lon float64) {
		t.Helper()
		match := regexp.MustCompile(`\(([\d,]+) km across, around ([+-][\d.]+)([+-][\d.]+)\)`).FindStringSubmatch(p.text("#map-summary"))
		if match == nil {
			t.Fatalf("the map says %q", p.text("#map-summary"))
		}
		for i, to := range []*float64{&km, &lat, &lon} {
			*to, _ = strconv.ParseFloat(strings.ReplaceAll(match[1+i], ",", ""), 64)
		}
		return km, lat, lon
	}

	p.awaitText("#map-summary", "the world")
	touch(input.DispatchTouchEventTypeTouchStart, [2]float64{-20, 0}, [2]float64{20, 0})
	for d := 30.; d <= 160; d += 10 {
		touch(input.DispatchTouchEventTypeTouchMove, [2]float64{-d, 0}, [2]float64{d, 0})
	}
	touch(input.DispatchTouchEventTypeTouchEnd)
	p.awaitText("#map-summary", "km across")
	km, lat, lon := shown()
	if km < 4000 || km > 5000 || math.Abs(lon) > 3 || math.Abs(lat-25) > 3 {
		t.Errorf("fingers that were 40 px apart, and are 320 apart, show %v km around %v %v; want an eighth of the world around the same place", km, lat, lon)
	}

	before := p.text("#map-summary")
	touch(input.DispatchTouchEventTypeTouchStart, [2]float64{0, 0})
	for d := 10.; d <= 100; d += 10 {
		touch(input.DispatchTouchEventTypeTouchMove, [2]float64{d, 0})
	}
	touch(input.DispatchTouchEventTypeTouchEnd)
	p.await(fmt.Sprintf(`document.querySelector("#map-summary").textContent !== %q`, before))
	if km2, lat2, lon2 := shown(); km2 != km || lat2 != lat || lon-lon2 < 9 || lon-lon2 > 14 {
		t.Errorf("a finger that moved by 100 px shows %v km around %v %v, before %v around %v %v; want 12 degrees to the west", km2, lat2, lon2, km, lat, lon)
	}
	if now := eval[float64](p, "scrollY"); now != scrolled {
		t.Errorf("the page is scrolled to %v px, before %v", now, scrolled)
	}
}

// testPageWheel: the wheel zooms the map. Where the map shows the whole world, turning it to zoom out scrolls the page.
func testPageWheel(t *testing.T, p *tab) {
	got := module[string](t, p, "mapinput.js", `
	  const box = document.createElement("div");
	  let world = true;
	  const done = [];
	  m.listen(box, { zoom: (factor) => { world = false; done.push(factor > 1 ? "in" : "out"); }, isWorld: () => world });
	  for (const deltaY of [100, -100, 100, 0]) {
	    const e = new WheelEvent("wheel", { deltaY, cancelable: true });
	    box.dispatchEvent(e);
	    if (!e.defaultPrevented) done.push("scroll");
	  }
	  return done.join(" ");`)
	if want := "scroll in out scroll"; got != want {
		t.Errorf("down, up, down and to the side: %q, want %q", got, want)
	}
}
