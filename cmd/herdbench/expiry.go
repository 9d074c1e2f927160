package main

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"sync/atomic"
	"time"

	"herd/cmd/herdbench/rivals"
	"herd/cmd/internal/load"
)

// ExpiryResults is what a well-behaved client sees while all other records expire.
type ExpiryResults struct {
	Records int           `json:"records"`
	Phases  []ExpiryPhase `json:"phases"`
}

// ExpiryPhase is a part of the time in which records expire.
type ExpiryPhase struct {
	Phase    string  `json:"phase"`
	Seconds  float64 `json:"seconds"`
	Requests uint64  `json:"requests"`
	P50      float64 `json:"p50_us"`
	P99      float64 `json:"p99_us"`
	Max      float64 `json:"max_us"`
	Resident float64 `json:"resident_mb"` // of the client's server, at the end

	latencies load.Histogram
}

// expiryPhases are the phases in their order. Records leave the map two minutes after the last of their minute has expired.
var expiryPhases = []string{"all records are known", "they are expired, and in the map", "they leave the map", "they are gone"}

const (
	expiryKeep  = time.Minute
	expiryAfter = 60 * time.Second // the last phase
	expiryLimit = expiryKeep + 5*time.Minute
)

var (
	expiredMetric = regexp.MustCompile(`(?m)^herd_expired_records_total\{.*\} (.*)$`)
	waitingMetric = regexp.MustCompile(`(?m)^herd_expired_records\{.*\} (.*)$`)
)

// expiry fills a herd, and measures one client, which waits for each reply and then for 1 ms, until the other records have left
// the maps of all servers.
func (b *bench) expiry(ctx context.Context) (*ExpiryResults, error) {
	b.say("expiry: %d records", b.Records)
	herd, err := rivals.Serve("herd", "").With("HERD_KEEP="+expiryKeep.String()).StartHerd(ctx, b.lab)
	if err != nil {
		return nil, err
	}
	defer herd.Stop()
	if err := b.fill(ctx, herd); err != nil {
		return nil, err
	}
	r := &ExpiryResults{Records: b.Records}
	for _, name := range expiryPhases {
		r.Phases = append(r.Phases, ExpiryPhase{Phase: name})
	}
	if err := b.expire(ctx, herd, r.Phases); err != nil {
		return nil, err
	}
	t := table{head: []string{"while", "for s", "requests", "p50 µs", "p99 µs", "max µs", "resident MB at the end"}}
	for i := range r.Phases {
		p := &r.Phases[i]
		p.Requests = p.latencies.Total()
		p.P50, p.P99, p.Max = float64(p.latencies.Quantile(.5))/1e3, float64(p.latencies.Quantile(.99))/1e3, float64(p.latencies.Max())/1e3
		t.rows = append(t.rows, []string{p.Phase, number(p.Seconds, 1), number(float64(p.Requests), 0), number(p.P50, 0), number(p.P99, 0), number(p.Max, 0), number(p.Resident, 0)})
	}
	fmt.Fprintf(b.out, "\n%s records at each of five servers, with `HERD_KEEP=%v`.\n\n%s", number(float64(r.Records), 0), expiryKeep, t)
	return r, nil
}

// expire measures the phases.
func (b *bench) expire(ctx context.Context, herd *rivals.Herd, phases []ExpiryPhase) error {
	ctx, cancel := context.WithTimeout(ctx, expiryLimit)
	defer cancel()
	c, err := dial(herd.Addresses()[0])
	if err != nil {
		return err
	}
	defer c.conn.Close()
	var phase atomic.Int32
	ended := make(chan error, 1)
	go func() { ended <- watchExpiry(ctx, herd, phases, &phase) }()
	for {
		took, err := timeIAmAt(c)
		if err != nil {
			cancel()
			return errors.Join(err, <-ended)
		}
		phases[phase.Load()].latencies.Record(took, 1)
		select {
		case err := <-ended:
			return err
		case <-time.After(time.Millisecond):
		}
	}
}

// watchExpiry keeps phase up to date, and times the phases, until the last has ended.
func watchExpiry(ctx context.Context, herd *rivals.Herd, phases []ExpiryPhase, phase *atomic.Int32) error {
	most, began := 0, time.Now() // the most that were expired and in the map
	for {
		_, metrics, err := get(ctx, herd.Ops[0]+"/metrics")
		expired, fault1 := metric(metrics, expiredMetric)
		waiting, fault2 := metric(metrics, waitingMetric)
		resident, fault3 := herd.Server(0).Resident()
		if ctx.Err() != nil {
			return fmt.Errorf("the records have not left the map within %v", expiryLimit)
		}
		if err := errors.Join(err, fault1, fault2, fault3); err != nil {
			return err
		}
		now, is := time.Now(), phase.Load()
		phases[is].Seconds, phases[is].Resident = now.Sub(began).Seconds(), float64(resident)/1e6
		most = max(most, waiting)
		reached := int32(0)
		switch {
		case most > 0 && waiting <= most/1000: // a few records are those of the client
			reached = 3
		case waiting < most:
			reached = 2
		case expired > 0:
			reached = 1
		}
		if reached > is {
			phase.Store(reached)
			began = now
		}
		if is == 3 && now.Sub(began) > expiryAfter {
			return nil
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// metric is the value of the metric that a pattern finds.
func metric(metrics []byte, pattern *regexp.Regexp) (int, error) {
	match := pattern.FindSubmatch(metrics)
	if match == nil {
		return 0, fmt.Errorf("the metrics do not match %v", pattern)
	}
	value, err := strconv.ParseFloat(string(match[1]), 64)
	return int(value), err
}
