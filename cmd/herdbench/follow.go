package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"herd/bus/natsbus"
	"herd/cmd/herdbench/rivals"
	"herd/cmd/internal/load"
	"herd/node/status"
)

// FollowResults is what followers of everything cost, and how soon they know.
type FollowResults struct {
	CPU      []FollowCost `json:"cpu"`
	Hop      float64      `json:"hop_p50_us"`      // until a neighbour has a lone update
	Follower float64      `json:"follower_p50_us"` // until a follower of the server that was written to has it
	Records  int          `json:"records"`
	Snapshot float64      `json:"snapshot_seconds"` // of Records records
	Dump     []Dump       `json:"dump"`
}

// Dump is how long herd dump takes for all records.
type Dump struct {
	Format  string  `json:"format"`
	Seconds float64 `json:"seconds"` // median
}

// FollowCost is the processor time per update with some followers.
type FollowCost struct {
	Followers int       `json:"followers"`
	PerUpdate []float64 `json:"cpu_us_per_update"` // by round
	Ratio     float64   `json:"ratio"`             // median of the ratios to no followers, round by round
}

// follow measures herds with followers.
func (b *bench) follow(ctx context.Context) (*FollowResults, error) {
	b.say("follow: starting")
	herd, err := rivals.Serve("herd", "").StartHerd(ctx, b.lab)
	if err != nil {
		return nil, err
	}
	defer herd.Stop()
	r := &FollowResults{CPU: []FollowCost{{Followers: 0}, {Followers: 1}, {Followers: 10}}, Records: b.Records}
	if err := b.followLatency(ctx, herd, r); err != nil {
		return nil, err
	}
	if err := b.followCPU(ctx, herd, r); err != nil {
		return nil, err
	}
	b.say("follow: snapshot of %d records", b.Records)
	if err := b.fill(ctx, herd); err != nil {
		return nil, err
	}
	if r.Snapshot, err = b.snapshot(ctx, herd); err != nil {
		return nil, err
	}
	for _, format := range []string{"text", "json", "geojson"} {
		b.say("follow: dump as %s", format)
		seconds, err := b.dump(ctx, herd, format)
		if err != nil {
			return nil, err
		}
		r.Dump = append(r.Dump, Dump{format, seconds})
	}
	t := table{head: []string{"followers of everything", "CPU µs per update", "of none"}}
	for _, c := range r.CPU {
		t.rows = append(t.rows, []string{number(float64(c.Followers), 0), number(median(c.PerUpdate), 2), number(c.Ratio, 3)})
	}
	fmt.Fprintf(b.out, "\nP64 to one server, medians of %s. CPU: user and system time of servers and broker. The followers are spread over the servers.\n\n%s", rounds(b.Rounds), t)
	fmt.Fprintf(b.out, "\nA lone update reaches a neighbour after %s µs and a follower after %s µs (p50), %s of that. A snapshot of %s records takes %s s.\n",
		number(r.Hop, 0), number(r.Follower, 0), number(ratio(r.Follower, r.Hop), 2), number(float64(r.Records), 0), number(r.Snapshot, 2))
	for _, d := range r.Dump {
		fmt.Fprintf(b.out, "`herd dump --format %s` takes %s s, which is %s records a second.\n", d.Format, number(d.Seconds, 2), number(ratio(float64(r.Records), d.Seconds), 0))
	}
	return r, nil
}

// followCPU measures P64 without and with followers, in turns.
func (b *bench) followCPU(ctx context.Context, herd *rivals.Herd, r *FollowResults) error {
	for round := range b.Rounds {
		for turn := range r.CPU {
			i := (turn + round) % len(r.CPU)
			b.say("follow: round %d of %d, %d followers", round+1, b.Rounds, r.CPU[i].Followers)
			end, err := b.startFollowers(ctx, herd, r.CPU[i].Followers, "", func(natsbus.Frame) {})
			if err != nil {
				return err
			}
			out, err := herd.Run(ctx, rivals.Workload{Connections: 8, Pipeline: 64, Clients: b.Clients, Duration: b.Duration, Count: b.Count})
			if fault := end(); err != nil || fault != nil {
				return errors.Join(err, fault)
			}
			r.CPU[i].PerUpdate = append(r.CPU[i].PerUpdate, out.CPUPerUpdate())
		}
	}
	for i := range r.CPU {
		r.CPU[i].Ratio = median(ratios(r.CPU[i].PerUpdate, r.CPU[0].PerUpdate))
	}
	return nil
}

// startFollowers starts followers with a request, "" for everything, spread over the servers, and returns once each has its
// snapshot. end ends them, and returns an error if a stream has broken.
func (b *bench) startFollowers(ctx context.Context, herd *rivals.Herd, followers int, request string, take func(natsbus.Frame)) (end func() error, err error) {
	ctx, cancel := context.WithCancel(ctx)
	var running sync.WaitGroup
	broken := make(chan error, followers)
	complete := make(chan struct{}, followers)
	names := b.lab.Graph.Servers()
	for i := range followers {
		running.Go(func() {
			next := uint64(1)
			err := natsbus.Follow(ctx, natsbus.Config{URLs: []string{herd.Bus}, Prefix: "herd"}, status.FollowEndpoint, names[i%len(names)], []byte(request), func(f natsbus.Frame) error {
				if len(f.Data) == 0 && !f.SnapshotEnd {
					return nil
				}
				if f.Seq != next {
					return fmt.Errorf("frame %d follows frame %d", f.Seq, next-1)
				}
				next++
				if f.SnapshotEnd {
					complete <- struct{}{}
				}
				take(f)
				return nil
			})
			if err != nil {
				broken <- fmt.Errorf("follower of %s: %w", names[i%len(names)], err)
			}
		})
	}
	end = func() error {
		cancel()
		running.Wait()
		select {
		case err := <-broken:
			return err
		default:
			return nil
		}
	}
	for range followers {
		select {
		case <-complete:
		case err := <-broken:
			return nil, errors.Join(err, end())
		case <-ctx.Done():
			return nil, errors.Join(ctx.Err(), end())
		}
	}
	return end, nil
}

// followLatency measures, in turns, when a neighbour and when a follower has a lone update.
func (b *bench) followLatency(ctx context.Context, herd *rivals.Herd, r *FollowResults) error {
	from, err := dial(herd.Addresses()[0])
	if err != nil {
		return err
	}
	defer from.conn.Close()
	neighbour, err := dial(herd.Addresses()[1])
	if err != nil {
		return err
	}
	defer neighbour.conn.Close()
	received := make(chan string, 100)
	end, err := b.startFollowers(ctx, herd, 1, `{"interval":"10ms"}`, func(f natsbus.Frame) {
		for line := range bytes.Lines(f.Data) {
			received <- string(line)
		}
	})
	if err != nil {
		return err
	}
	var hop, follower load.Histogram
	for range b.Rounds * b.Samples {
		// The interval after the last update, that of loneUpdate, must be over: an update waits for its end.
		time.Sleep(25 * time.Millisecond)
		began := time.Now()
		record, err := from.send(update(began))
		for line := ""; err == nil && line != record; {
			select {
			case line = <-received:
			case <-time.After(10 * time.Second):
				err = fmt.Errorf("the follower has not received %q", record)
			}
		}
		if err != nil {
			return errors.Join(err, end())
		}
		follower.Record(time.Since(began), 1)
		time.Sleep(latencyPause)
		d, err := loneUpdate(from, neighbour)
		if err != nil {
			return errors.Join(err, end())
		}
		hop.Record(d, 1)
	}
	r.Hop, r.Follower = float64(hop.Quantile(.5))/1e3, float64(follower.Quantile(.5))/1e3
	return end()
}

// snapshot is the median time of snapshots of the whole map, in seconds.
func (b *bench) snapshot(ctx context.Context, herd *rivals.Herd) (float64, error) {
	var seconds []float64
	for range b.Rounds {
		began := time.Now()
		end, err := b.startFollowers(ctx, herd, 1, "", func(natsbus.Frame) {})
		if err != nil {
			return 0, err
		}
		seconds = append(seconds, time.Since(began).Seconds())
		if err := end(); err != nil {
			return 0, err
		}
	}
	return median(seconds), nil
}

// dump is the median time of herd dump in a format, in seconds.
func (b *bench) dump(ctx context.Context, herd *rivals.Herd, format string) (float64, error) {
	var seconds []float64
	for range b.Rounds {
		var written, fault bytes.Buffer
		written.Grow(400 * b.Records)
		command := herd.Command(ctx, "dump", "--format", format)
		command.Stdout, command.Stderr = &written, &fault
		began := time.Now()
		if err := command.Run(); err != nil {
			return 0, fmt.Errorf("herd dump: %w: %s", err, fault.Bytes())
		}
		seconds = append(seconds, time.Since(began).Seconds())
		if n := bytes.Count(written.Bytes(), []byte("AT ")); n < b.Records {
			return 0, fmt.Errorf("herd dump --format %s has %d of %d records", format, n, b.Records)
		}
	}
	return median(seconds), nil
}
