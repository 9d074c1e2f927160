package plot

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"math"
	"regexp"
	"strconv"
	"testing"
)

func checkXML(t *testing.T, svg []byte) {
	t.Helper()
	for d := xml.NewDecoder(bytes.NewReader(svg)); ; {
		if _, err := d.Token(); errors.Is(err, io.EOF) {
			return
		} else if err != nil {
			t.Fatalf("%v\n%s", err, svg)
		}
	}
}

func TestBars(t *testing.T) {
	svg := Bars("a <title>", []Bar{{"M & N", 1000, Limit}, {"herd", 250, Own}, {"none", 0, Other}})
	checkXML(t, svg)
	for _, want := range []string{"a &lt;title&gt;<", "M &amp; N", `class="limit" x="160" y="48" width="550"`, `class="own" x="160" y="78" width="137"`, "1,000<"} {
		if !bytes.Contains(svg, []byte(want)) {
			t.Errorf("no %s in\n%s", want, svg)
		}
	}
}

// TestPanels: heights and places are to scale, and nothing is outside of the plot.
func TestPanels(t *testing.T) {
	svg := Panels("a <title>",
		Panel{Title: "one & two", Columns: []Column{{0, 1, 50}, {1, 2, 100}, {3, 4, 0}}, To: 4, Ticks: []Mark{{2, "<2>"}}, Marks: []Mark{{1, "p50"}, {4, "max"}}, Colour: Own},
		Panel{Title: "empty", From: 1, To: 2, Colour: Other},
	)
	checkXML(t, svg)
	rects := regexp.MustCompile(`<rect class="(\w+)" x="([\d.]+)" y="([\d.]+)" width="([\d.]+)" height="([\d.]+)"/>`).FindAllSubmatch(svg, -1)
	if len(rects) != 2 {
		t.Fatalf("%d columns, want 2, and none for the height 0:\n%s", len(rects), svg)
	}
	number := func(r [][]byte, i int) float64 {
		v, err := strconv.ParseFloat(string(r[i]), 64)
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	low, high := rects[0], rects[1]
	if number(high, 5) != 2*number(low, 5) || number(high, 3)+number(high, 5) != number(low, 3)+number(low, 5) {
		t.Errorf("columns of 50 and 100 have heights %s and %s from %s and %s", low[5], high[5], low[3], high[3])
	}
	if number(low, 2) >= number(high, 2) || string(low[4]) != string(high[4]) {
		t.Errorf("columns of equal width begin at %s and %s and are %s and %s wide", low[2], high[2], low[4], high[4])
	}
	for _, m := range regexp.MustCompile(` [xy][12]?="([\d.-]+)"`).FindAllSubmatch(svg, -1) {
		if v := number(m, 1); v < 0 || v > width {
			t.Errorf("something is at %s", m[0])
		}
	}
	for _, want := range []string{"one &amp; two", "&lt;2&gt;", ">p50<", ">max<", ">100<", ">empty<"} {
		if !bytes.Contains(svg, []byte(want)) {
			t.Errorf("no %s in\n%s", want, svg)
		}
	}
}

func TestNiceStep(t *testing.T) {
	for most, want := range map[float64]float64{0: 1, 1: .2, 3: .5, 7: 2, 10: 2, 35: 10, 100: 20, 123456: 50000, 0.04: 0.01} {
		got := NiceStep(most)
		if lines := most / got; math.Abs(got-want) > 1e-9 || most > 0 && (lines < 2 || lines > 6) {
			t.Errorf("NiceStep(%v) = %v, want %v", most, got, want)
		}
	}
}

func TestNumber(t *testing.T) {
	for v, want := range map[float64]string{0: "0", 999: "999", 1234567.8: "1,234,568", -236134: "-236,134", 0.25: "0.25", 1000: "1,000"} {
		if got := Number(v); got != want {
			t.Errorf("Number(%v) = %q, want %q", v, got, want)
		}
	}
}
