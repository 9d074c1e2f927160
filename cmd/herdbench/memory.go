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

// MemoryResults is what records and connections weigh, in bytes.
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

// untilIdle is how long a client that has spoken says nothing before it is weighed.
const untilIdle = 5 * time.Second

// memory loads a herd of five processes with records, and then one of its servers
// with idle connections.
func (b *bench) memory(ctx context.Context) (*MemoryResults, error) {
	b.say("memory: starting")
	herd, err := rivals.Serve("herd", "").StartHerd(ctx, b.lab)
	if err != nil {
		return nil, err
	}
	defer herd.Stop()
	heapBefore, residentBefore, err := weigh(ctx, herd)
	if err != nil {
		return nil, err
	}
	b.say("memory: %d records", b.Records)
	if err := b.fill(ctx, herd); err != nil {
		return nil, err
	}
	heap, resident, err := weigh(ctx, herd)
	if err != nil {
		return nil, err
	}
	r := &MemoryResults{Records: b.Records, IdleConnections: b.Idle}
	for i := range heap {
		one := float64(heap[i]-heapBefore[i]) / float64(b.Records)
		r.HeapPerRecord += one / float64(len(heap))
		r.HeapPerRecordMost = max(r.HeapPerRecordMost, one)
		r.RSSPerRecord += float64(resident[i]-residentBefore[i]) / float64(b.Records) / float64(len(heap))
	}

	b.say("memory: %d idle connections", b.Idle)
	alone := rivals.Workload{Connections: 1, Pipeline: 1, Clients: b.Clients, Duration: b.Duration, Count: b.Count}
	before, err := herd.Run(ctx, alone)
	if err != nil {
		return nil, err
	}
	if _, residentBefore, err = weigh(ctx, herd); err != nil {
		return nil, err
	}
	for range b.Idle {
		a, err := ask(herd.Addresses()[0])
		if err != nil {
			return nil, fmt.Errorf("idle connections: %w", err)
		}
		defer a.conn.Close()
		now := time.Now()
		if _, err := a.ask(fmt.Sprintf("IAMAT idle +1+1 %d.%09d", now.Unix(), now.Nanosecond())); err != nil {
			return nil, fmt.Errorf("idle connections: %w", err)
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
	}
	select {
	case <-time.After(untilIdle):
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if _, resident, err = weigh(ctx, herd); err != nil {
		return nil, err
	}
	r.RSSPerConnection = float64(resident[0]-residentBefore[0]) / float64(b.Idle)
	among, err := herd.Run(ctx, alone)
	if err != nil {
		return nil, err
	}
	r.P99Before, r.P99Among = float64(before.Latencies.Quantile(.99))/1e3, float64(among.Latencies.Quantile(.99))/1e3
	t := table{head: []string{"memory", ""}, rows: [][]string{
		{"records at each of five servers", number(float64(r.Records), 0)},
		{"heap a record, mean of the servers, bytes", number(r.HeapPerRecord, 0)},
		{"heap a record, the server with the most", number(r.HeapPerRecordMost, 0)},
		{"resident memory a record", number(r.RSSPerRecord, 0)},
		{"idle connections to one server", number(float64(r.IdleConnections), 0)},
		{"resident memory an idle connection, bytes", number(r.RSSPerConnection, 0)},
		{"p99 of another client, P1, without them, µs", number(r.P99Before, 0)},
		{"p99 of another client, P1, among them, µs", number(r.P99Among, 0)},
	}}
	fmt.Fprintf(b.out, "\nHeap after a collection; resident memory as the kernel has it, garbage included. An idle connection has had one reply, %v before.\n\n%s", untilIdle, t)
	return r, nil
}

// fill gives the herd the wanted number of records.
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

var heapAlloc = regexp.MustCompile(`(?m)^# HeapAlloc = (\d+)$`)

// weigh is each server's heap, after a collection, and resident memory.
func weigh(ctx context.Context, herd *rivals.Herd) (heap, resident []int, err error) {
	for i, ops := range herd.Ops {
		_, text, err := get(ctx, ops+"/debug/pprof/heap?debug=1&gc=1")
		if err != nil {
			return nil, nil, err
		}
		match := heapAlloc.FindSubmatch(text)
		if match == nil {
			return nil, nil, fmt.Errorf("%s tells no HeapAlloc", ops)
		}
		n, err := strconv.Atoi(string(match[1]))
		if err != nil {
			return nil, nil, err
		}
		rss, err := herd.Server(i).Resident()
		if err != nil {
			return nil, nil, err
		}
		heap, resident = append(heap, n), append(resident, rss)
	}
	return heap, resident, nil
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
