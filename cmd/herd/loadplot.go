package main

import (
	"fmt"
	"math"
	"time"

	"herd/bus/plural"
	"herd/cmd/internal/load"
	"herd/cmd/internal/plot"
)

// plotLoad draws the latencies of a load, and its rate over time, as SVG.
func plotLoad(r *load.Report) []byte {
	title := fmt.Sprintf("herd load: %s replies in %.1f s, %s per second, %s",
		plot.Number(float64(r.Replies)), r.Elapsed.Seconds(), plot.Number(math.Round(r.Answered())), plural.Count(r.Connections, "connection"))
	return plot.Panels(title, latencyPanel(&r.Latencies), ratePanel(r.Samples))
}

// latencyPanel is a histogram over the logarithm of the latency.
func latencyPanel(h *load.Histogram) plot.Panel {
	const perDecade = 20 // columns
	p := plot.Panel{Title: "Replies by latency (logarithmic)", To: 1, Colour: plot.Own}
	at := func(d time.Duration) float64 { return math.Log10(max(1, float64(d))) }
	counts := map[int]int{}
	first, last := math.MaxInt, math.MinInt
	for _, b := range h.Buckets() {
		column := int(math.Floor(at(b.To) * perDecade))
		counts[column] += b.Count
		first, last = min(first, column), max(last, column)
	}
	if len(counts) == 0 {
		return p
	}
	p.From, p.To = float64(first)/perDecade, float64(last+1)/perDecade
	for column := first; column <= last; column++ {
		n := counts[column]
		p.Columns = append(p.Columns, plot.Column{From: float64(column) / perDecade, To: float64(column+1) / perDecade, Height: float64(n)})
	}
	steps := []float64{1, 2, 5}
	if p.To-p.From > 4 {
		steps = []float64{1}
	}
	for decade := math.Floor(p.From); decade <= p.To; decade++ {
		for _, step := range steps {
			d := step * math.Pow(10, decade)
			if x := math.Log10(d); x >= p.From && x <= p.To {
				p.Ticks = append(p.Ticks, plot.Mark{At: x, Label: time.Duration(math.Round(d)).String()})
			}
		}
	}
	for _, q := range []struct {
		label string
		at    time.Duration
	}{{"p50", h.Quantile(.5)}, {"p99", h.Quantile(.99)}, {"p99.9", h.Quantile(.999)}, {"max", h.Max()}} {
		p.Marks = append(p.Marks, plot.Mark{At: at(q.at), Label: fmt.Sprintf("%s %v", q.label, load.Short(q.at))})
	}
	return p
}

// ratePanel has the replies per second over time.
func ratePanel(samples []load.Sample) plot.Panel {
	p := plot.Panel{Title: "Replies per second, by seconds since the start", To: 1, Colour: plot.Other}
	var before load.Sample
	for i, s := range samples {
		span := (s.Elapsed - before.Elapsed).Seconds()
		// The last interval is cut off; a short one would say little.
		if i == len(samples)-1 && len(samples) > 1 && span < samples[0].Elapsed.Seconds()/2 {
			break
		}
		p.Columns = append(p.Columns, plot.Column{From: before.Elapsed.Seconds(), To: s.Elapsed.Seconds(), Height: float64(s.Replies-before.Replies) / span})
		p.To = s.Elapsed.Seconds()
		before = s
	}
	step := plot.NiceStep(p.To)
	for i := 0; float64(i)*step <= p.To; i++ {
		p.Ticks = append(p.Ticks, plot.Mark{At: float64(i) * step, Label: fmt.Sprintf("%.4g", float64(i)*step)})
	}
	return p
}
