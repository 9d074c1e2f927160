package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"herd/cmd/herdbench/rivals"
)

// workload is a workload with its name.
type workload struct {
	name string
	rivals.Workload
}

// workloads are what every rival is measured with in every round.
var workloads = []workload{
	{"P64", rivals.Workload{Connections: 8, Pipeline: 64}},
	{"P64 all", rivals.Workload{Connections: 8, Pipeline: 64, All: true}},
	{"P1", rivals.Workload{Connections: 8, Pipeline: 1}},
	{"P1 all", rivals.Workload{Connections: 8, Pipeline: 1, All: true}},
	{"P1 alone", rivals.Workload{Connections: 1, Pipeline: 1}},
}

// limitOf is the name of the workload whose limit M applies to a workload.
func limitOf(name string) string { return strings.TrimSuffix(name, " all") }

// Comparison holds the figures of all rivals, in their order.
type Comparison struct {
	Rounds int          `json:"rounds"`
	Rivals []Compared   `json:"rivals"`
	limits []roundLimit // M, by round
}

// roundLimit is M in one round, by workload.
type roundLimit map[string]float64

// Compared holds the figures of one rival, by workload.
type Compared struct {
	Name      string             `json:"name"`
	Workloads map[string]*Figure `json:"workloads"`
	Lost      int                `json:"lost"` // over all rounds
	Differing int                `json:"differing"`
	Errors    []string           `json:"errors,omitempty"`
}

// Figure is the result of one rival under one workload.
type Figure struct {
	// Medians over the rounds.
	Replicated float64 `json:"replicated_per_second"`
	OfM        float64 `json:"of_m"` // of the ratios to M in the same round
	CPU        float64 `json:"cpu_us_per_update"`
	P50        float64 `json:"p50_us"`
	P99        float64 `json:"p99_us"`
	// By round.
	Rates  []float64 `json:"rates"`
	Ratios []float64 `json:"ratios"`
	cpus   []float64
	p50s   []float64
	p99s   []float64
}

// compare starts and measures every rival once in each round. The order rotates from
// round to round, except that M is first.
func (b *bench) compare(ctx context.Context, results *Results) (*Comparison, error) {
	var all []rivals.Rival
	for _, r := range rivals.All() {
		wanted := slices.Contains(b.Only, r.Name()) || len(b.Only) == 0 && !rivals.OnRequest(r.Name())
		if wanted || r.Name() == rivals.EchoName {
			all = append(all, r)
		}
	}
	c := &Comparison{}
	for _, r := range all {
		c.Rivals = append(c.Rivals, Compared{Name: r.Name(), Workloads: map[string]*Figure{}})
	}
	var fault error
	for round := range b.Rounds {
		c.limits = append(c.limits, roundLimit{})
		for turn := range all {
			i := turn
			if turn > 0 { // M is first
				i = 1 + (turn-1+round)%(len(all)-1)
			}
			if c.Rivals[i].Workloads == nil { // not installed
				continue
			}
			b.say("round %d of %d: %s", round+1, b.Rounds, all[i].Name())
			err := b.compareOne(ctx, all[i], &c.Rivals[i], c.limits[round])
			switch {
			case ctx.Err() != nil:
				return c.finish(b, round), ctx.Err()
			case errors.Is(err, rivals.ErrMissing):
				b.say("skipped: %s: %v", all[i].Name(), err)
				if results.Skipped == nil {
					results.Skipped = map[string]string{}
				}
				results.Skipped[all[i].Name()] = err.Error()
				c.Rivals[i].Workloads = nil
			case err != nil:
				b.say("%s: %v", all[i].Name(), err)
				c.Rivals[i].Errors = append(c.Rivals[i].Errors, err.Error())
				fault = errors.Join(fault, fmt.Errorf("%s: %w", all[i].Name(), err))
			}
		}
	}
	return c.finish(b, b.Rounds), fault
}

// compareOne starts a rival, warms it up, and runs all workloads on it.
func (b *bench) compareOne(ctx context.Context, r rivals.Rival, result *Compared, limits roundLimit) error {
	system, err := rivals.Start(ctx, b.lab, r)
	if err != nil {
		return err
	}
	defer system.Stop()
	warm := workloads[0].Workload
	warm.Clients, warm.Duration, warm.Count = b.Clients, b.Duration/4, max(1, b.Count/4)
	if _, err := system.Run(ctx, warm); err != nil {
		return fmt.Errorf("warming up: %w", err)
	}
	for _, w := range workloads {
		w.Clients, w.Duration, w.Count = b.Clients, b.Duration, b.Count
		out, err := system.Run(ctx, w.Workload)
		if errors.Is(err, rivals.ErrCannot) {
			continue
		}
		if err != nil {
			return fmt.Errorf("%s: %w", w.name, err)
		}
		if r.Name() == rivals.EchoName {
			limits[w.name] = out.Replicated
		}
		result.Lost += out.Lost
		result.Differing += out.Differing
		f := result.Workloads[w.name]
		if f == nil {
			f = &Figure{}
			result.Workloads[w.name] = f
		}
		f.add(out, limits[limitOf(w.name)])
	}
	return nil
}

func (f *Figure) add(out rivals.Outcome, limit float64) {
	us := func(d time.Duration) float64 { return float64(d) / 1e3 }
	f.Rates = append(f.Rates, out.Replicated)
	if limit > 0 {
		f.Ratios = append(f.Ratios, out.Replicated/limit)
	}
	f.cpus = append(f.cpus, out.CPUPerUpdate())
	if h := &out.Latencies; h.Total() > 0 {
		f.p50s = append(f.p50s, us(h.Quantile(.5)))
		f.p99s = append(f.p99s, us(h.Quantile(.99)))
	}
}

// finish computes the medians and prints the table.
func (c *Comparison) finish(b *bench, rounds int) *Comparison {
	c.Rounds = rounds
	c.Rivals = slices.DeleteFunc(c.Rivals, func(r Compared) bool { return r.Workloads == nil })
	for _, r := range c.Rivals {
		for _, f := range r.Workloads {
			f.Replicated, f.OfM, f.CPU = median(f.Rates), median(f.Ratios), median(f.cpus)
			f.P50, f.P99 = median(f.p50s), median(f.p99s)
		}
	}
	fmt.Fprint(b.out, "\n", c.table())
	return c
}

// table is the comparison in Markdown.
func (c *Comparison) table() string {
	t := table{head: []string{"", "P64 replicated/s", "of M", "CPU µs", "P64 all five", "of M", "CPU µs", "P1 replicated/s", "of M", "P1 all five", "of M",
		"P1 alone p50 µs", "p99 µs", "lost", "differing"}}
	for _, r := range c.Rivals {
		row := []string{r.Name}
		rate := func(workload string, withCPU bool) {
			f := r.Workloads[workload]
			if f == nil {
				f = &Figure{}
			}
			row = append(row, number(f.Replicated, 0), number(f.OfM, 2))
			if withCPU {
				row = append(row, number(f.CPU, 2))
			}
		}
		rate("P64", true)
		rate("P64 all", true)
		rate("P1", false)
		rate("P1 all", false)
		alone := r.Workloads["P1 alone"]
		if alone == nil {
			alone = &Figure{}
		}
		row = append(row, number(alone.P50, 0), number(alone.P99, 0), fmt.Sprint(r.Lost), fmt.Sprint(r.Differing))
		t.rows = append(t.rows, row)
	}
	return fmt.Sprintf("Medians of %s. Replicated: until every server has the last update. CPU: per update, of all processes of the system.\n"+
		"P64, P1: commands in flight on each of 8 connections; alone: one in flight on one connection.\n\n%s", rounds(c.Rounds), t)
}

func rounds(n int) string {
	if n == 1 {
		return "1 round"
	}
	return fmt.Sprintf("%d rounds", n)
}

// median of nothing is 0.
func median(of []float64) float64 {
	if len(of) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(of))
	return (sorted[(len(sorted)-1)/2] + sorted[len(sorted)/2]) / 2
}

// ratio is a divided by b; 0, which means no value, if b is 0: a run was too short to use measurable time.
func ratio(a, b float64) float64 {
	if b == 0 {
		return 0
	}
	return a / b
}

// ratios are the ratios of a to b, round by round, without those that have no value.
func ratios(a, b []float64) (all []float64) {
	for i := range min(len(a), len(b)) {
		if b[i] != 0 {
			all = append(all, a[i]/b[i])
		}
	}
	return all
}

// number formats v with decimals and commas; "–" if it is 0, which means no value.
func number(v float64, decimals int) string {
	if v == 0 || math.IsNaN(v) {
		return "–"
	}
	if v < 0 { // memory may shrink
		return "-" + number(-v, decimals)
	}
	s := fmt.Sprintf("%.*f", decimals, v)
	whole, fraction, _ := strings.Cut(s, ".")
	for i := len(whole) - 3; i > 0; i -= 3 {
		whole = whole[:i] + "," + whole[i:]
	}
	if fraction != "" {
		whole += "." + fraction
	}
	return whole
}
