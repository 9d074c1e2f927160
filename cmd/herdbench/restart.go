package main

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"time"

	"herd/cmd/herdbench/rivals"
)

// RestartResults is how long a server that comes back takes, in seconds from its
// process's start.
type RestartResults struct {
	Records int       `json:"records"`
	Server  string    `json:"server"`
	Ready   []float64 `json:"ready_seconds"` // until it says that it is ready, in each round
	All     []float64 `json:"all_seconds"`   // until it says that it has all records
	AtReady []int     `json:"at_ready"`      // records that it had just after it was ready
}

// restart stops one server of a herd with many records and starts it again.
func (b *bench) restart(ctx context.Context) (*RestartResults, error) {
	b.say("restart: starting")
	herd, err := rivals.Serve("herd", "").StartHerd(ctx, b.lab)
	if err != nil {
		return nil, err
	}
	defer herd.Stop()
	b.say("restart: %d records", b.Records)
	if err := b.fill(ctx, herd); err != nil {
		return nil, err
	}
	place := restarted(b.lab)
	name := b.lab.Graph.Servers()[place]
	r := &RestartResults{Records: b.Records, Server: name}
	for round := range b.Rounds {
		b.say("restart: round %d of %d", round+1, b.Rounds)
		begin, ready, err := restartServer(ctx, herd, place)
		if err != nil {
			return nil, err
		}
		r.Ready = append(r.Ready, ready.Seconds())
		for first := true; ; first = false {
			held, err := herd.Records(ctx)
			if err != nil {
				return nil, err
			}
			if first {
				r.AtReady = append(r.AtReady, held[name])
			}
			if all := slices.Max(slices.Collect(maps.Values(held))); held[name] == all && all >= b.Records { // the lab has some, too
				break
			}
			if time.Since(begin) > time.Minute {
				return nil, fmt.Errorf("%s has %d of %d records after a minute: %v", name, held[name], b.Records, held)
			}
		}
		r.All = append(r.All, time.Since(begin).Seconds())
	}
	t := table{head: []string{name + " restarted in a herd of " + number(float64(r.Records), 0) + " records", "median s", "least", "most"}}
	for _, row := range []struct {
		what string
		took []float64
	}{{"ready", r.Ready}, {"has all records, as `herd status` says", r.All}} {
		t.rows = append(t.rows, []string{row.what, number(median(row.took), 2), number(slices.Min(row.took), 2), number(slices.Max(row.took), 2)})
	}
	fmt.Fprintf(b.out, "\nFrom the start of its process, %s. Records that it had when first asked after it was ready: %s at least.\n\n%s",
		rounds(b.Rounds), number(float64(slices.Min(r.AtReady)), 0), t)
	return r, nil
}

// restarted is the place of the server that is restarted: Holiday, between Welsh and
// the others.
func restarted(lab *rivals.Lab) int { return slices.Index(lab.Graph.Servers(), "Holiday") }

// restartServer stops the server at a place in the topology and starts it again at
// begin. It returns once the server says that it is ready, and how long that took.
func restartServer(ctx context.Context, herd *rivals.Herd, place int) (begin time.Time, ready time.Duration, err error) {
	herd.Server(place).Stop()
	begin = time.Now()
	if err := herd.StartServer(place); err != nil {
		return begin, 0, err
	}
	for status := 0; status != http.StatusOK; {
		if status, _, err = get(ctx, herd.Ops[place]+"/readyz"); ctx.Err() != nil {
			return begin, 0, ctx.Err()
		}
		if time.Since(begin) > time.Minute {
			return begin, 0, fmt.Errorf("a server is not ready a minute after its restart: %w", err)
		}
		time.Sleep(2 * time.Millisecond)
	}
	return begin, time.Since(begin), nil
}
