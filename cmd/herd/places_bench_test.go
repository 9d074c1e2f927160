package main

import (
	"bufio"
	"fmt"
	"net"
	"slices"
	"sync"
	"testing"
	"time"
)

// BenchmarkWhatsAt requests 20 places within 10 km from a herd of one server, over 8
// connections with one request in flight each. "again" is for a few locations, which are
// in the cache after the first time; "anew" is for locations that are all different. The
// client runs on the same machine and is part of the figures.
func BenchmarkWhatsAt(b *testing.B) {
	b.Run("again", func(b *testing.B) { benchmarkWhatsAt(b, len(towns)) })
	b.Run("anew", func(b *testing.B) { benchmarkWhatsAt(b, 20_000) })
}

func benchmarkWhatsAt(b *testing.B, clients int) {
	const conns = 8
	p := start(b, append([]string{"HERD_TOPOLOGY=Solo"}, anyPorts...), "up")
	address := p.stdout.await(b, `Solo +(127\S+)`)[1]
	if err := placeClients(address, clients); err != nil {
		b.Fatal(err)
	}
	took := make([][]time.Duration, conns)
	b.ResetTimer()
	began := time.Now()
	var all sync.WaitGroup
	for i := range conns {
		all.Go(func() {
			var err error
			if took[i], err = askForPlaces(address, i*clients/conns, clients, (b.N+conns-1)/conns); err != nil {
				b.Error(err)
			}
		})
	}
	all.Wait()
	elapsed := time.Since(began)
	b.StopTimer()
	every := slices.Concat(took...)
	slices.Sort(every)
	b.ReportMetric(float64(len(every))/elapsed.Seconds(), "whatsat/s")
	b.ReportMetric(float64(every[len(every)*50/100].Microseconds()), "p50-µs")
	b.ReportMetric(float64(every[len(every)*99/100].Microseconds()), "p99-µs")
}

// towns are the locations of the first clients; further clients are close to them.
var towns = [][2]float64{
	{34.06893, -118.445127}, {51.5074, -0.1278}, {35.6895, 139.6917}, {-1.2864, 36.8172}, {40.7128, -74.006}, {-33.8688, 151.2093},
	{48.8566, 2.3522}, {55.7558, 37.6173}, {19.076, 72.8777}, {-23.5505, -46.6333}, {30.0444, 31.2357}, {13.7563, 100.5018},
	{52.52, 13.405}, {41.9028, 12.4964}, {59.3293, 18.0686}, {-13.8333, -171.7667},
}

// placeClients reports the locations of clients, and returns when places are loaded.
func placeClients(address string, clients int) error {
	conn, err := net.Dial("tcp", address)
	if err != nil {
		return err
	}
	defer conn.Close()
	r := bufio.NewReader(conn)
	for i := range clients {
		town, off := towns[i%len(towns)], float64(i/len(towns))*1e-5 // a metre or so
		fmt.Fprintf(conn, "IAMAT bench%d %+f%+f 1\n", i, town[0]+off, town[1]+off)
		if _, err := r.ReadString('\n'); err != nil {
			return err
		}
	}
	_, err = askForPlaces(address, 0, 1, 1)
	return err
}

// askForPlaces requests n times the places near one client after the other, beginning
// with first. It returns the latencies.
func askForPlaces(address string, first, clients, n int) (took []time.Duration, err error) {
	conn, err := net.Dial("tcp", address)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	r := bufio.NewReaderSize(conn, 64<<10)
	for i := range n {
		began := time.Now()
		if _, err := fmt.Fprintf(conn, "WHATSAT bench%d 10 20\n", (first+i)%clients); err != nil {
			return nil, err
		}
		for line := []byte(nil); len(line) != 1; { // up to the empty line
			if line, err = r.ReadSlice('\n'); err != nil {
				return nil, err
			}
		}
		took = append(took, time.Since(began))
	}
	return took, nil
}
