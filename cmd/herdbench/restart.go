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
	const name = "Holiday" // between Welsh and the others
	place := slices.Index(b.lab.Graph.Servers(), name)
	r := &RestartResults{Records: b.Records, Server: name}
	for round := range b.Rounds {
		b.say("restart: round %d of %d", round+1, b.Rounds)
		herd.Server(place).Stop()
		begin := time.Now()
		if err := herd.StartServer(place); err != nil {
			return nil, err
		}
		for status := 0; status != http.StatusOK; {
			if status, _, err = get(ctx, herd.Ops[place]+"/readyz"); ctx.Err() != nil {
				return nil, ctx.Err()
			}
			if time.Since(begin) > time.Minute {
				return nil, fmt.Errorf("%s is not ready after a minute: %w", name, err)
			}
			time.Sleep(2 * time.Millisecond)
		}
		r.Ready = append(r.Ready, time.Since(begin).Seconds())
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
