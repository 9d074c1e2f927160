package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// million is the number of records in the herd that a server rejoins.
const million = 1_000_000

// BenchmarkJoin measures the time from the start of a server's process until it is
// ready, in a herd of five processes with a million records. p99-ms and max-ms are the
// latencies of reports to another server meanwhile.
func BenchmarkJoin(b *testing.B) {
	h := startProcesses(b, "goloman")
	fill(b, h.addresses["Goloman"], million)
	h.awaitEqual()
	for _, name := range []string{"Welsh", "Wilkes"} { // one neighbour, three neighbours
		b.Run(name, func(b *testing.B) {
			var latencies []time.Duration
			for range b.N {
				b.StopTimer()
				h.servers[name].stop()
				ctx, cancel := context.WithCancel(b.Context())
				probed := make(chan []time.Duration, 1)
				go func() { probed <- probe(ctx, b, h.addresses["Hands"]) }()
				b.StartTimer()
				h.serve(name)
				h.servers[name].stderr.await(b, fmt.Sprintf(`msg=ready .*records=%d`, million))
				b.StopTimer()
				cancel()
				latencies = append(latencies, <-probed...)
				b.StartTimer()
			}
			slices.Sort(latencies)
			b.ReportMetric(latencies[len(latencies)*99/100].Seconds()*1000, "p99-ms")
			b.ReportMetric(latencies[len(latencies)-1].Seconds()*1000, "max-ms")
		})
	}
}

// BenchmarkReplay measures the time from the start of a server's process until it is
// ready, with a million records in its journal and no neighbours.
func BenchmarkReplay(b *testing.B) {
	broker := startAs(b, asBroker, nil, "-a", "127.0.0.1", "-p", "-1")
	at := broker.stderr.await(b, `Listening for client connections on (\S+)`)[1]
	env := []string{"HERD_TOPOLOGY=Solo", "HERD_NATS_URL=nats://" + at, "HERD_OPS_LISTEN=off", "HERD_LISTEN=127.0.0.1:0",
		"HERD_JOURNAL=ack", "HERD_DATA_DIR=" + b.TempDir()}
	p := start(b, env, "serve", "Solo")
	fill(b, p.stderr.await(b, `msg=listening .*clients=(\S+)`)[1], million)
	for b.Loop() {
		b.StopTimer()
		p.stop()
		b.StartTimer()
		p = start(b, env, "serve", "Solo")
		p.stderr.await(b, fmt.Sprintf(`msg=ready .*records=%d`, million))
	}
}

// fill reports the locations of n clients, once each, in random order.
func fill(b *testing.B, address string, n int) {
	b.Helper()
	conn := dial(b, address).conn
	defer conn.Close()
	go func() {
		w := bufio.NewWriterSize(conn, 64<<10)
		now := time.Now().Unix()
		for _, i := range rand.Perm(n) {
			fmt.Fprintf(w, "IAMAT client%d.example +34.068930-118.445127 %d.%09d\n", i, now, i)
		}
		w.Flush()
		conn.CloseWrite()
	}()
	replies, err := io.ReadAll(conn)
	if got := bytes.Count(replies, []byte("\nAT ")) + 1; err != nil || got != n {
		b.Fatalf("%d of %d reports answered: %v", got, n, err)
	}
}

// probe sends reports to a server until ctx is cancelled, and returns their latencies.
func probe(ctx context.Context, b *testing.B, address string) (latencies []time.Duration) {
	c := dial(b, address)
	defer c.conn.Close()
	for n := 0; ctx.Err() == nil; n++ {
		began := time.Now()
		fmt.Fprintf(c.conn, "IAMAT client0.example +1+1 %d.%09d\n", began.Unix(), n)
		if _, err := c.r.ReadString('\n'); err != nil {
			b.Error(err)
			return latencies
		}
		latencies = append(latencies, time.Since(began))
		time.Sleep(time.Millisecond) // one client, not a load
	}
	return latencies
}
