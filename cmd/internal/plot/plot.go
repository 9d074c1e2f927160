// Package plot draws figures as SVG. They have no background, and their colours adapt to
// light and dark pages.
package plot

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"math"
	"strconv"
	"strings"
)

// width is the width of all plots.
const width = 820

// Colour is what a bar stands for.
type Colour string

// The colours.
const (
	Own   Colour = "own"   // herd
	Other Colour = "other" // anything else
	Limit Colour = "limit" // a limit of the machine: paler
)

// Bar is one bar of Bars.
type Bar struct {
	Label  string
	Value  float64
	Colour Colour
}

// Bars draws horizontal bars, in the order given, to a linear scale.
func Bars(title string, bars []Bar) []byte {
	const (
		left      = 160 // labels
		right     = 110 // figures
		top       = 48
		step      = 30
		barHeight = 20
	)
	most := 1.0
	for _, b := range bars {
		most = max(most, b.Value)
	}
	var out bytes.Buffer
	begin(&out, title, top+step*len(bars)+12)
	for i, b := range bars {
		y := top + i*step
		length := max(1, int(b.Value/most*float64(width-left-right)))
		fmt.Fprintf(&out, `<text x="%d" y="%d" text-anchor="end">%s</text>`, left-10, y+15, escape(b.Label))
		fmt.Fprintf(&out, `<rect class="%s" x="%d" y="%d" width="%d" height="%d" rx="3"/>`, b.Colour, left, y, length, barHeight)
		fmt.Fprintf(&out, `<text x="%d" y="%d">%s</text>`+"\n", left+length+8, y+15, Number(b.Value))
	}
	out.WriteString("</svg>\n")
	return out.Bytes()
}

// Panel is a diagram of columns over a linear axis. A logarithmic axis has the logarithms.
type Panel struct {
	Title   string
	Columns []Column
	From    float64 // where the axis begins
	To      float64 // where it ends, greater than From
	Ticks   []Mark  // labels of the axis
	Marks   []Mark  // vertical lines
	Colour  Colour
}

// Column covers a part of the axis.
type Column struct{ From, To, Height float64 }

// Mark is a label at a place of the axis.
type Mark struct {
	At    float64
	Label string
}

// Panels draws panels, one below the other.
func Panels(title string, panels ...Panel) []byte {
	const top = 44
	height := top
	for _, p := range panels {
		height += p.height()
	}
	var out bytes.Buffer
	begin(&out, title, height)
	out.WriteString(`<style>
.small { font-size: 11px }
.grid { stroke: #d0d7de } .axis { stroke: #57606a } .mark { stroke: #cf222e; stroke-dasharray: 3 2 }
@media (prefers-color-scheme: dark) {
.grid { stroke: #30363d } .axis { stroke: #8b949e } .mark { stroke: #ff7b72 }
}
</style>
`)
	y := top
	for _, p := range panels {
		p.draw(&out, y)
		y += p.height()
	}
	out.WriteString("</svg>\n")
	return out.Bytes()
}

// The parts of a panel, from above: its title, the labels of marks, the columns, and the
// labels of the axis.
const (
	titleHeight  = 30
	markHeight   = 14 // a row for each, so that they do not overlap
	columnHeight = 150
	axisHeight   = 46
)

func (p Panel) height() int { return titleHeight + markHeight*len(p.Marks) + columnHeight + axisHeight }

// draw draws the panel with its upper edge at top.
func (p Panel) draw(out *bytes.Buffer, top int) {
	const (
		left  = 80 // labels of the heights
		right = 24
	)
	base := top + p.height() - axisHeight
	most := 0.0
	for _, c := range p.Columns {
		most = max(most, c.Height)
	}
	step := NiceStep(most)
	most = max(step, math.Ceil(most/step)*step)
	x := func(at float64) float64 { return left + (at-p.From)/(p.To-p.From)*(width-left-right) }
	y := func(v float64) float64 { return float64(base) - v/most*columnHeight }

	fmt.Fprintf(out, `<text x="12" y="%d">%s</text>`+"\n", top+16, escape(p.Title))
	for h := 0.0; h <= most; h += step {
		fmt.Fprintf(out, `<line class="grid" x1="%d" y1="%.1f" x2="%d" y2="%.1f"/>`, left, y(h), width-right, y(h))
		fmt.Fprintf(out, `<text class="small" x="%d" y="%.1f" text-anchor="end">%s</text>`+"\n", left-8, y(h)+4, Number(h))
	}
	for _, c := range p.Columns {
		if c.Height > 0 {
			fmt.Fprintf(out, `<rect class="%s" x="%.1f" y="%.1f" width="%.1f" height="%.1f"/>`+"\n",
				p.Colour, x(c.From), y(c.Height), max(0.5, x(c.To)-x(c.From)-0.5), float64(base)-y(c.Height))
		}
	}
	for _, t := range p.Ticks {
		fmt.Fprintf(out, `<line class="axis" x1="%.1f" y1="%d" x2="%.1f" y2="%d"/>`, x(t.At), base, x(t.At), base+5)
		fmt.Fprintf(out, `<text class="small" x="%.1f" y="%d" text-anchor="middle">%s</text>`+"\n", x(t.At), base+19, escape(t.Label))
	}
	fmt.Fprintf(out, `<line class="axis" x1="%d" y1="%d" x2="%d" y2="%d"/>`+"\n", left, base, width-right, base)
	row, last := 0, len(p.Marks)-1
	for _, m := range p.Marks { // no line crosses a label: those at the right go upwards
		anchor, offset, at := "start", 3.0, row
		if x(m.At) > width*2/3 {
			anchor, offset, at = "end", -3, last
			last--
		} else {
			row++
		}
		labelY := top + titleHeight + markHeight*at + 8
		fmt.Fprintf(out, `<line class="mark" x1="%.1f" y1="%d" x2="%.1f" y2="%d"/>`, x(m.At), labelY-10, x(m.At), base)
		fmt.Fprintf(out, `<text class="small" x="%.1f" y="%d" text-anchor="%s">%s</text>`+"\n", x(m.At)+offset, labelY, anchor, escape(m.Label))
	}
}

// NiceStep is the smallest distance of at most six lines up to most that is 1, 2 or 5 times a
// power of ten.
func NiceStep(most float64) float64 {
	const lines = 6
	if most <= 0 {
		return 1
	}
	power := math.Pow(10, math.Floor(math.Log10(most))-1)
	for _, factor := range []float64{1, 2, 5, 10} {
		if most/(factor*power) <= lines {
			return factor * power
		}
	}
	return 20 * power
}

// begin writes the head of a plot.
func begin(out *bytes.Buffer, title string, height int) {
	fmt.Fprintf(out, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" viewBox="0 0 %d %d" role="img" aria-label="%s">
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
`, width, height, width, height, escape(title), escape(title))
}

func escape(text string) string {
	var b bytes.Buffer
	xml.EscapeText(&b, []byte(text)) // a buffer returns no error
	return b.String()
}

// Number is v with commas: without decimals, unless it is small.
func Number(v float64) string {
	if v != math.Trunc(v) && math.Abs(v) < 10 {
		return strconv.FormatFloat(v, 'g', 3, 64)
	}
	digits, sign := strconv.FormatFloat(math.Abs(v), 'f', 0, 64), ""
	if v < 0 {
		sign = "-"
	}
	var groups []string
	for len(digits) > 3 {
		groups = append([]string{digits[len(digits)-3:]}, groups...)
		digits = digits[:len(digits)-3]
	}
	return sign + strings.Join(append([]string{digits}, groups...), ",")
}
