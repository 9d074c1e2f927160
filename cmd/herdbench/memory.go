package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strconv"
	"time"

	"herd/cmd/herdbench/rivals"
	"herd/cmd/internal/load"
)

// MemoryResults is the memory of records and connections in bytes.
type MemoryResults struct {
	Records           int     `json:"records"`
	HeapPerRecord     float64 `json:"heap_per_record"` // mean of the servers
	HeapPerRecordMost float64 `json:"heap_per_record_most"`
	RSSPerRecord      float64 `json:"rss_per_record"`
	IdleConnections   int     `json:"idle_connections"`
	RSSPerConnection  float64 `json:"rss_per_connection"`
	P99Before         float64 `json:"p99_us_without"` // of a client with one command at a time
	P99Among          float64 `json:"p99_us_among"`
}

// untilIdle is the time between the last command of idle connections and measuring them.
const untilIdle = 2 * time.Second

// memory fills a herd of five processes with records, and then opens idle connections to
// one of its servers.
func (b *bench) memory(ctx context.Context) (*MemoryResults, error) {
	b.say("memory: starting")
	herd, err := rivals.Serve("herd", "").StartHerd(ctx, b.lab)
	if err != nil {
		return nil, err
	}
	defer herd.Stop()
	before, err := memoryOf(ctx, herd)
	if err != nil {
		return nil, err
	}
	b.say("memory: %d records", b.Records)
	if err := b.fill(ctx, herd); err != nil {
		return nil, err
	}
	after, err := memoryOf(ctx, herd)
	if err != nil {
		return nil, err
	}
	r := &MemoryResults{Records: b.Records, IdleConnections: b.Idle}
	for i := range after {
		one := float64(after[i].heap-before[i].heap) / float64(b.Records)
		r.HeapPerRecord += one / float64(len(after))
		r.HeapPerRecordMost = max(r.HeapPerRecordMost, one)
		r.RSSPerRecord += float64(after[i].resident-before[i].resident) / float64(b.Records) / float64(len(after))
	}

	b.say("memory: %d idle connections", b.Idle)
	alone := rivals.Workload{Connections: 1, Pipeline: 1, Clients: b.Clients, Duration: b.Duration, Count: b.Count}
	without, err := herd.Run(ctx, alone)
	if err != nil {
		return nil, err
	}
	if before, err = memoryOf(ctx, herd); err != nil {
		return nil, err
	}
	closeAll, err := connectIdle(ctx, herd.Addresses()[0], b.Idle)
	defer closeAll()
	if err != nil {
		return nil, err
	}
	if after, err = memoryOf(ctx, herd); err != nil {
		return nil, err
	}
	r.RSSPerConnection = float64(after[0].resident-before[0].resident) / float64(b.Idle)
	among, err := herd.Run(ctx, alone)
	if err != nil {
		return nil, err
	}
	r.P99Before, r.P99Among = float64(without.Latencies.Quantile(.99))/1e3, float64(among.Latencies.Quantile(.99))/1e3
	t := table{head: []string{"memory", ""}, rows: [][]string{
		{"records at each of five servers", number(float64(r.Records), 0)},
		{"heap per record, mean of the servers, bytes", number(r.HeapPerRecord, 0)},
		{"heap per record, the server with the most", number(r.HeapPerRecordMost, 0)},
		{"resident memory per record", number(r.RSSPerRecord, 0)},
		{"idle connections to one server", number(float64(r.IdleConnections), 0)},
		{"resident memory per idle connection, bytes", number(r.RSSPerConnection, 0)},
		{"p99 of another client without them, µs", number(r.P99Before, 0)},
		{"p99 of another client with them, µs", number(r.P99Among, 0)},
	}}
	fmt.Fprintf(b.out, "\nHeap: in use after a collection. Resident memory includes garbage. Each idle connection received one reply, %v before.\n\n%s", untilIdle, t)
	return r, nil
}

// fill adds --records records to the herd.
func (b *bench) fill(ctx context.Context, herd *rivals.Herd) error {
	report, err := load.Run(ctx, load.Config{
		Addresses: herd.Addresses(), First: true, Connections: 8, Pipeline: 64, Clients: b.Records, Name: "fill",
		Duration: load.MaxDuration, Count: b.Records, Patience: time.Minute, Settle: time.Minute, Check: 20_000,
	})
	if err == nil {
		err = report.Fault()
	}
	if err == nil {
		err = ctx.Err()
	}
	return err
}

// connectIdle opens n connections to a server, sends one report over each, and waits for
// untilIdle. closeAll closes those that were opened, also after an error.
func connectIdle(ctx context.Context, address string, n int) (closeAll func(), err error) {
	var open []*client
	closeAll = func() {
		for _, c := range open {
			c.conn.Close()
		}
	}
	for range n {
		c, err := dial(address)
		if err != nil {
			return closeAll, fmt.Errorf("idle connections: %w", err)
		}
		open = append(open, c)
		now := time.Now()
		if _, err := c.send(fmt.Sprintf("IAMAT idle +1+1 %d.%09d", now.Unix(), now.Nanosecond())); err != nil {
			return closeAll, fmt.Errorf("idle connections: %w", err)
		}
		if ctx.Err() != nil {
			return closeAll, ctx.Err()
		}
	}
	select {
	case <-time.After(untilIdle):
		return closeAll, nil
	case <-ctx.Done():
		return closeAll, ctx.Err()
	}
}

// usage is the memory of a server in bytes. heap and stack are what is in use after a
// collection; resident is what the kernel reports, including garbage.
type usage struct{ heap, stack, resident int }

var (
	heapInUse  = regexp.MustCompile(`(?m)^# HeapAlloc = (\d+)$`)
	stackInUse = regexp.MustCompile(`(?m)^# Stack = (\d+) /`)
)

// memoryOf is the memory of each server after two collections: the first one does not
// empty pools.
func memoryOf(ctx context.Context, herd *rivals.Herd) (all []usage, err error) {
	for i, ops := range herd.Ops {
		var text []byte
		for range 2 {
			if _, text, err = get(ctx, ops+"/debug/pprof/heap?debug=1&gc=1"); err != nil {
				return nil, err
			}
		}
		var u usage
		for pattern, value := range map[*regexp.Regexp]*int{heapInUse: &u.heap, stackInUse: &u.stack} {
			match := pattern.FindSubmatch(text)
			if match == nil {
				return nil, fmt.Errorf("the heap profile of %s does not match %v", ops, pattern)
			}
			if *value, err = strconv.Atoi(string(match[1])); err != nil {
				return nil, err
			}
		}
		if u.resident, err = herd.Server(i).Resident(); err != nil {
			return nil, err
		}
		all = append(all, u)
	}
	return all, nil
}

func get(ctx context.Context, url string) (status int, body []byte, err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return 0, nil, err
	}
	reply, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0, nil, err
	}
	defer reply.Body.Close()
	body, err = io.ReadAll(reply.Body)
	return reply.StatusCode, body, err
}
