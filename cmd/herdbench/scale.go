package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"herd/cmd/herdbench/rivals"
)

// ScaleResults is the cost of an update by numbers of clients, connections and servers.
type ScaleResults struct {
	Clients     []Cost `json:"clients"`
	Connections []Cost `json:"connections"`
	Servers     []Cost `json:"servers"` // of degree 4, in one process
}

// Cost is the cost of an update, medians over the rounds.
type Cost struct {
	Of         int     `json:"of"` // number of clients, connections or servers
	CPU        float64 `json:"cpu_us_per_update"`
	Replicated float64 `json:"replicated_per_second"`
	PerEdge    float64 `json:"cpu_us_per_update_and_edge,omitempty"` // servers only
	ToFirst    float64 `json:"to_first"`                             // CPU, or PerEdge, divided by that of the first in the list
}

// scale measures each series. In a round, all members of a series are measured in turn.
func (b *bench) scale(ctx context.Context) (*ScaleResults, error) {
	r := &ScaleResults{}
	herd := rivals.Serve("herd", "")
	usual := rivals.Workload{Connections: 8, Pipeline: 64, Clients: b.Clients, Duration: b.Duration, Count: b.Count}
	series := []struct {
		what   string
		result *[]Cost
		of     []int
		rival  func(n int) rivals.Rival
		load   func(n int) rivals.Workload
		edges  func(n int) int
	}{
		{
			"clients", &r.Clients, []int{1000, 2 * b.Records},
			func(int) rivals.Rival { return herd },
			func(n int) rivals.Workload { w := usual; w.Clients = n; return w },
			func(int) int { return 1 },
		},
		{
			"connections", &r.Connections, []int{8, 2000},
			func(int) rivals.Rival { return herd },
			func(n int) rivals.Workload { w := usual; w.Connections = n; w.Clients = max(w.Clients, n); return w },
			func(int) int { return 1 },
		},
		{
			"servers", &r.Servers, []int{5, 10, 20, 50},
			func(n int) rivals.Rival { return rivals.Up("herd up", ring(n)) },
			func(int) rivals.Workload { return usual },
			func(n int) int { return 2 * n }, // of degree 4
		},
	}
	for _, s := range series {
		cpus, rates := make([][]float64, len(s.of)), make([][]float64, len(s.of))
		for round := range b.Rounds {
			for i, n := range s.of {
				b.say("scale: %s %d, round %d of %d", s.what, n, round+1, b.Rounds)
				out, err := b.runFilled(ctx, s.rival(n), s.load(n))
				if err != nil {
					return r, fmt.Errorf("%d %s: %w", n, s.what, err)
				}
				cpus[i], rates[i] = append(cpus[i], out.CPUPerUpdate()), append(rates[i], out.Replicated)
			}
		}
		t := table{head: []string{s.what, "CPU µs per update", "of the first", "replicated/s"}}
		if s.what == "servers" {
			t.head[1] = "CPU µs per update and edge"
		}
		for i, n := range s.of {
			c := Cost{Of: n, CPU: median(cpus[i]), Replicated: median(rates[i])}
			share := c.CPU / float64(s.edges(n))
			if s.what == "servers" {
				c.PerEdge = share
			}
			c.ToFirst = ratio(share, median(cpus[0])/float64(s.edges(s.of[0])))
			*s.result = append(*s.result, c)
			t.rows = append(t.rows, []string{number(float64(n), 0), number(share, 2), number(c.ToFirst, 2), number(c.Replicated, 0)})
		}
		fmt.Fprint(b.out, "\n", t)
	}
	return r, nil
}

// runFilled runs a workload on a rival that has a record of every client already.
func (b *bench) runFilled(ctx context.Context, r rivals.Rival, w rivals.Workload) (rivals.Outcome, error) {
	system, err := rivals.Start(ctx, b.lab, r)
	if err != nil {
		return rivals.Outcome{}, err
	}
	defer system.Stop()
	fill := w
	fill.Duration, fill.Count = time.Hour, w.Clients
	if _, err := system.Run(ctx, fill); err != nil {
		return rivals.Outcome{}, fmt.Errorf("filling: %w", err)
	}
	w.Count = max(w.Count, w.Clients) // to report each client, if time allows
	return system.Run(ctx, w)
}

// ring is the topology of n >= 5 servers in a ring. Each is a neighbour of the two before
// it and the two after it.
func ring(n int) string {
	var edges []string
	for i := range n {
		for _, j := range []int{i + 1, i + 2} {
			edges = append(edges, fmt.Sprintf("S%d-S%d", i, j%n))
		}
	}
	return strings.Join(edges, ",")
}
