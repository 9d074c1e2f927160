package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"math"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/time/rate"
)

var longFaults = flag.Bool("long", false, "TestFaults: try every fault of both herds, and require that each heals within 5 s")

// healWithin is the time after a heal within which the herd must be in step and every
// server must have all earlier reports. It is checked with -long only, when no other
// test runs.
const healWithin = 5 * time.Second

// faultLoad sends reports to every server of a herd and reconnects after faults. With
// -long it sends them as fast as replies arrive. Otherwise it sends paced reports, since
// other tests run at the same time.
type faultLoad struct {
	t     testing.TB
	began time.Time
	end   context.CancelFunc
	all   []*reporter

	reporters sync.WaitGroup
}

// reporter sends the reports for one server, over one connection. Some clients report
// again and again, a few with clocks that are years off. Others report once, so that no
// later report can replace one that is lost.
type reporter struct {
	t       testing.TB
	name    string
	address string
	pace    *rate.Limiter

	mu     sync.Mutex
	n      int               // reports so far
	latest map[string]string // the last reply that was read, by client
}

const (
	inFlight = 16  // reports of one connection
	regulars = 100 // clients of one connection that report again and again
	decade   = 10 * 365 * 24 * 60 * 60

	paced rate.Limit = 800 // reports of one connection per second, without -long
)

// startFaultLoad starts the load. It ends with the test at the latest, since servers of
// other tests may listen at the same addresses later.
func startFaultLoad(t testing.TB, addresses map[string]string) *faultLoad {
	t.Helper()
	l := &faultLoad{t: t, began: time.Now()}
	running, end := context.WithCancel(t.Context())
	l.end = end
	t.Cleanup(l.reporters.Wait)
	for name, address := range addresses {
		r := &reporter{t: t, name: name, address: address, pace: rate.NewLimiter(paced, inFlight), latest: map[string]string{}}
		if *longFaults {
			r.pace.SetLimit(rate.Inf)
		}
		l.all = append(l.all, r)
		l.reporters.Go(func() { r.run(running) })
	}
	return l
}

// awaitReports waits until each reporter has sent n more reports.
func (l *faultLoad) awaitReports(n int) {
	l.t.Helper()
	goals := map[*reporter]int{}
	for _, r := range l.all {
		goals[r] = r.reports() + n
	}
	eventually(l.t, func() error {
		for r, goal := range goals {
			if got := r.reports(); got < goal {
				return fmt.Errorf("%d reports to %s, want %d", got, r.name, goal)
			}
		}
		return nil
	})
}

func (r *reporter) reports() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.n
}

// acknowledged returns the last reply that was read for each client.
func (l *faultLoad) acknowledged() map[string]string {
	all := map[string]string{}
	for _, r := range l.all {
		r.mu.Lock()
		maps.Copy(all, r.latest)
		r.mu.Unlock()
	}
	return all
}

// stop ends the load, after a last reply for every regular client. It returns the
// duration of the load and the number of reports.
func (l *faultLoad) stop() (lasted time.Duration, reports int) {
	l.t.Helper()
	l.end()
	l.reporters.Wait()
	for _, r := range l.all {
		reports += r.n
	}
	return time.Since(l.began), reports
}

// lost waits until all servers have the last acknowledged record of each client, or a
// later one. It counts the records that are different, each an error, and the clients.
func (l *faultLoad) lost(addresses map[string]string) (lost, of int) {
	l.t.Helper()
	final := l.acknowledged()
	for name, address := range addresses {
		awaitRecords(l.t, address, final)
		held := records(l.t, address, slices.Collect(maps.Keys(final)))
		for id, want := range final {
			if held[id] != want {
				if lost++; lost <= 5 {
					l.t.Errorf("%s has %q of %s, want %q", name, held[id], id, want)
				}
			}
		}
	}
	if lost > 0 {
		l.t.Errorf("%d records lost", lost)
	}
	return lost, len(final)
}

func (r *reporter) run(running context.Context) {
	last := math.MaxInt // the report to end at
	var conn net.Conn
	var in *bufio.Reader
	defer func() {
		if conn != nil {
			conn.Close()
		}
	}()
	for r.n < last && r.t.Context().Err() == nil {
		if running.Err() != nil {
			last = min(last, r.n+regulars+regulars/8)
		}
		if conn == nil {
			dialled, err := net.Dial("tcp", r.address)
			if err != nil {
				time.Sleep(10 * time.Millisecond) // until the server runs again
				continue
			}
			conn, in = dialled, bufio.NewReader(dialled)
			context.AfterFunc(r.t.Context(), func() { dialled.Close() })
		}
		if err := r.report(conn, in); err != nil {
			conn.Close()
			conn = nil
		}
	}
}

// report sends the next reports and reads the replies.
func (r *reporter) report(conn net.Conn, in *bufio.Reader) error {
	if err := r.pace.WaitN(r.t.Context(), inFlight); err != nil {
		return err
	}
	var lines bytes.Buffer
	var ids [inFlight]string
	for i := range ids {
		n := r.n + i
		ids[i] = fmt.Sprintf("%s.regular%d", r.name, n%regulars)
		at := time.Now().Unix()
		switch {
		case n%16 == 15:
			ids[i] = fmt.Sprintf("%s.once%d", r.name, n)
		case n%regulars%8 == 0:
			at += decade
		case n%regulars%8 == 1:
			at -= decade
		}
		fmt.Fprintf(&lines, "IAMAT %s +1.5-2 %d.%09d\n", ids[i], at, n)
	}
	r.mu.Lock()
	r.n += inFlight // even if they are lost: no two reports have the same time
	r.mu.Unlock()
	conn.SetDeadline(time.Now().Add(patience))
	if _, err := conn.Write(lines.Bytes()); err != nil {
		return err
	}
	for _, id := range ids {
		reply, err := in.ReadString('\n')
		if err != nil {
			return err
		}
		if !strings.HasPrefix(reply, "AT ") || !strings.Contains(reply, " "+id+" ") {
			r.t.Errorf("%s replied %q to a report of %s", r.name, reply, id)
		}
		r.mu.Lock()
		r.latest[id] = strings.TrimSuffix(reply, "\n")
		r.mu.Unlock()
	}
	return nil
}

// awaitRecords waits until a server has the records in want, or newer ones.
func awaitRecords(t testing.TB, address string, want map[string]string) {
	missing := slices.Collect(maps.Keys(want))
	for deadline := time.Now().Add(patience); len(missing) > 0 && !t.Failed(); {
		held := records(t, address, missing)
		missing = slices.DeleteFunc(missing, func(id string) bool { return held[id] == want[id] || newer(t, held[id], want[id]) })
		if time.Now().After(deadline) {
			t.Errorf("%s is missing %d records, for example of %s", address, len(missing), missing[0])
			return
		}
	}
}

// records returns the records that a server has of clients.
func records(t testing.TB, address string, ids []string) map[string]string {
	held := map[string]string{}
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Error(err)
		return nil
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(patience))
	go func() {
		w := bufio.NewWriter(conn)
		for _, id := range ids {
			fmt.Fprintf(w, "WHATSAT %s 0 0\n", id)
		}
		w.Flush()
	}()
	in := bufio.NewReaderSize(conn, 64<<10)
	for _, id := range ids {
		line, err := in.ReadString('\n')
		if record := strings.TrimSuffix(line, "\n"); strings.HasPrefix(record, "AT ") {
			held[id] = record
			for line != "\n" && err == nil {
				line, err = in.ReadString('\n')
			}
		}
		if err != nil && !errors.Is(err, io.EOF) {
			t.Errorf("requests to %s: %v", address, err)
			return held
		}
	}
	return held
}
