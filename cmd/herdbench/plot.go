package main

import (
	"cmp"
	"slices"

	"herd/cmd/herdbench/rivals"
	"herd/cmd/internal/plot"
)

// plot draws the comparison's P64 medians as SVG.
func (c *Comparison) plot() []byte {
	var bars []plot.Bar
	for _, r := range c.Rivals {
		if f := r.Workloads["P64"]; f != nil && f.Replicated > 0 {
			bars = append(bars, plot.Bar{Label: r.Name, Value: f.Replicated, Colour: colour(r.Name)})
		}
	}
	slices.SortStableFunc(bars, func(a, b plot.Bar) int { return cmp.Compare(b.Value, a.Value) })
	return plot.Bars("Replicated updates a second, 64 in flight on each of 8 connections", bars)
}

func colour(rival string) plot.Colour {
	switch {
	case rivals.IsLimit(rival):
		return plot.Limit
	case rivals.IsOwn(rival):
		return plot.Own
	}
	return plot.Other
}
