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

// RestartResults is how long a restarted server takes, in seconds since the start of its
// process.
type RestartResults struct {
	Records int       `json:"records"`
	Server  string    `json:"server"`
	Ready   []float64 `json:"ready_seconds"` // until /readyz is 200, by round
	All     []float64 `json:"all_seconds"`   // until it reports all records
	AtReady []int     `json:"at_ready"`      // records that it had right after it was ready
}

// restart restarts one server of a herd with many records, repeatedly.
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
			if all := slices.Max(slices.Collect(maps.Values(held))); held[name] == all && all >= b.Records { // some more are from settle
				break
			}
			if time.Since(begin) > time.Minute {
				return nil, fmt.Errorf("%s has %d of %d records after a minute: %v", name, held[name], b.Records, held)
			}
		}
		r.All = append(r.All, time.Since(begin).Seconds())
	}
	t := table{head: []string{name + " restarted in a herd of " + number(float64(r.Records), 0) + " records", "median s", "min", "max"}}
	for _, row := range []struct {
		what string
		took []float64
	}{{"ready", r.Ready}, {"has all records, according to `herd status`", r.All}} {
		t.rows = append(t.rows, []string{row.what, number(median(row.took), 2), number(slices.Min(row.took), 2), number(slices.Max(row.took), 2)})
	}
	fmt.Fprintf(b.out, "\nSince the start of its process, %s. Records that it had right after it was ready: at least %s.\n\n%s",
		rounds(b.Rounds), number(float64(slices.Min(r.AtReady)), 0), t)
	return r, nil
}

// restarted is the index in the topology of the server to restart: Holiday, which connects
// Welsh with the others.
func restarted(lab *rivals.Lab) int { return slices.Index(lab.Graph.Servers(), "Holiday") }

// restartServer stops the server at an index in the topology and starts it again at begin.
// It returns the time from begin until /readyz is 200.
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
