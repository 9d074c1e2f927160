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

// towns are where the clients of BenchmarkWhatsAt are.
var towns = []string{
	"+34.068930-118.445127", "+51.507400-000.127800", "+35.689500+139.691700", "-01.286400+036.817200", "+40.712800-074.006000",
	"-33.868800+151.209300", "+48.856600+002.352200", "+55.755800+037.617300", "+19.076000+072.877700", "-23.550500-046.633300",
	"+30.044400+031.235700", "+13.756300+100.501800", "+52.520000+013.405000", "+41.902800+012.496400", "+59.329300+018.068600",
	"-13.833300-171.766700",
}

// BenchmarkWhatsAt asks a herd of one, in a process of its own, for 20 places within
// 10 km, over 8 connections that each wait for their reply. The asking is on the same
// machine and part of the figures.
func BenchmarkWhatsAt(b *testing.B) {
	const conns = 8
	p := start(b, append([]string{"HERD_TOPOLOGY=Solo"}, anyPorts...), "up")
	address := p.stdout.await(b, `Solo +(127\S+)`)[1]
	if _, err := askForPlaces(address, 1); err != nil { // waits until the places are loaded
		b.Fatal(err)
	}
	took := make([][]time.Duration, conns)
	b.ResetTimer()
	began := time.Now()
	var all sync.WaitGroup
	for i := range conns {
		all.Go(func() {
			var err error
			if took[i], err = askForPlaces(address, (b.N+conns-1)/conns); err != nil {
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

// askForPlaces says that clients are in towns, and asks n times what is near one of
// them; it returns how long each reply took.
func askForPlaces(address string, n int) (took []time.Duration, err error) {
	conn, err := net.Dial("tcp", address)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	r := bufio.NewReaderSize(conn, 64<<10)
	for i, town := range towns {
		if _, err := fmt.Fprintf(conn, "IAMAT bench%d %s 1\n", i, town); err != nil {
			return nil, err
		}
		if _, err := r.ReadSlice('\n'); err != nil {
			return nil, err
		}
	}
	for i := range n {
		began := time.Now()
		if _, err := fmt.Fprintf(conn, "WHATSAT bench%d 10 20\n", i%len(towns)); err != nil {
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
