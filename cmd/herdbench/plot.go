package main

import (
	"bytes"
	"cmp"
	"encoding/xml"
	"fmt"
	"slices"

	"herd/cmd/herdbench/rivals"
)

// bar is one bar of a plot.
type bar struct {
	label string
	value float64
	own   bool // a way to run herd
	limit bool // a limit of the machine: drawn paler
}

// plot draws the comparison's P64 medians as SVG.
func (c *Comparison) plot() []byte {
	var bars []bar
	for _, r := range c.Rivals {
		if f := r.Workloads["P64"]; f != nil && f.Replicated > 0 {
			bars = append(bars, bar{r.Name, f.Replicated, rivals.IsOwn(r.Name), rivals.IsLimit(r.Name)})
		}
	}
	slices.SortStableFunc(bars, func(a, b bar) int { return cmp.Compare(b.value, a.value) })
	return draw("Replicated updates a second, 64 in flight on each of 8 connections", bars)
}

// draw draws horizontal bars, in the order given, to a linear scale. The plot has no
// background, and its colours adapt to light and dark pages.
func draw(title string, bars []bar) []byte {
	const (
		width     = 820
		left      = 160 // labels
		right     = 110 // figures
		top       = 48
		step      = 30
		barHeight = 20
	)
	height := top + step*len(bars) + 12
	most := 1.0
	for _, b := range bars {
		most = max(most, b.value)
	}
	var out bytes.Buffer
	text := func(s string) string {
		var b bytes.Buffer
		xml.EscapeText(&b, []byte(s)) // a buffer returns no error
		return b.String()
	}
	fmt.Fprintf(&out, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" viewBox="0 0 %d %d" role="img" aria-label="%s">
<style>
text { font: 13px system-ui, sans-serif; fill: #24292f }
.title { font-size: 15px; font-weight: 600 }
.own { fill: #1a7f37 } .other { fill: #0969da } .limit { fill: #8c959f }
@media (prefers-color-scheme: dark) {
text { fill: #e6edf3 }
.own { fill: #3fb950 } .other { fill: #58a6ff } .limit { fill: #6e7681 }
}
</style>
<text class="title" x="12" y="26">%s</text>
`, width, height, width, height, text(title), text(title))
	for i, b := range bars {
		y := top + i*step
		class := "other"
		switch {
		case b.limit:
			class = "limit"
		case b.own:
			class = "own"
		}
		length := max(1, int(b.value/most*float64(width-left-right)))
		fmt.Fprintf(&out, `<text x="%d" y="%d" text-anchor="end">%s</text>`, left-10, y+15, text(b.label))
		fmt.Fprintf(&out, `<rect class="%s" x="%d" y="%d" width="%d" height="%d" rx="3"/>`, class, left, y, length, barHeight)
		fmt.Fprintf(&out, `<text x="%d" y="%d">%s</text>`+"\n", left+length+8, y+15, number(b.value, 0))
	}
	out.WriteString("</svg>\n")
	return out.Bytes()
}
