package main

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"time"

	"herd/cmd/herdbench/rivals"
)

// RestartResults is how long a server that comes back takes.
type RestartResults struct {
	Records int       `json:"records"`
	Server  string    `json:"server"`
	Median  float64   `json:"seconds"` // from its process's start until it is ready
	Rounds  []float64 `json:"rounds"`
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
		r.Rounds = append(r.Rounds, time.Since(begin).Seconds())
		held, err := herd.Records(ctx)
		if err != nil {
			return nil, err
		}
		if held[name] != b.Records {
			return nil, fmt.Errorf("%s is ready with %d records of %d", name, held[name], b.Records)
		}
	}
	r.Median = median(r.Rounds)
	fmt.Fprintf(b.out, "\n%s restarted in a herd of %s records is ready, with all of them, %.2f s after its process's start (median of %s; %.2f to %.2f s).\n",
		name, number(float64(r.Records), 0), r.Median, rounds(len(r.Rounds)), slices.Min(r.Rounds), slices.Max(r.Rounds))
	return r, nil
}
