package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/time/rate"
)

// churnLoad is clients that come and go. At each server a few visitors report over
// connections of some seconds each, and a crowd asks once over each connection and then
// says nothing. The number of clients in the maps is fixed, so that servers that do not
// leak keep their size. Some clients report at the beginning only: no later report can
// hide the loss of theirs.
type churnLoad struct {
	t       *testing.T
	ctx     context.Context
	stop    context.CancelFunc
	running sync.WaitGroup
	pace    *rate.Limiter
	reports atomic.Int64

	mu     sync.Mutex
	latest map[string]string // the last reply that was read, by client
}

// visitors is the number of connections to each server that report.
const visitors = 4

// crowd is how many clients a churnLoad has.
type crowd struct {
	perVisitor int // clients of each visitor
	idle       int // connections to each server that are idle
	parked     int // clients of each server that report at the beginning only
}

var fewClients, manyClients = crowd{50, 10, 100}, crowd{5_000, 100, 1_000}

// startChurnLoad reports the parked clients, and begins the load without a limit.
func startChurnLoad(t *testing.T, addresses map[string]string, of crowd) *churnLoad {
	t.Helper()
	l := &churnLoad{t: t, pace: rate.NewLimiter(rate.Inf, inFlight), latest: map[string]string{}}
	l.ctx, l.stop = context.WithCancel(t.Context())
	t.Cleanup(func() {
		l.stop()
		l.running.Wait()
	})
	for name, address := range addresses {
		v := visitor{churnLoad: l, name: name + ".parked", clients: of.parked}
		conn, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		for in := bufio.NewReader(conn); v.n < of.parked; {
			if err := v.report(conn, in); err != nil {
				t.Fatal(err)
			}
		}
		conn.Close()
	}
	for name, address := range addresses {
		for i := range visitors {
			v := visitor{churnLoad: l, name: fmt.Sprintf("%s.%d", name, i), clients: of.perVisitor}
			l.running.Go(func() { l.comeAndGo(address, 5*time.Second, v.visit) })
		}
		for range of.idle {
			l.running.Go(func() { l.comeAndGo(address, 20*time.Second, l.ask(name+".parked0")) })
		}
	}
	return l
}

// halve measures the load without a limit for some time, and limits it to half of that.
func (l *churnLoad) halve(measure time.Duration) (perSecond float64) {
	before := l.reports.Load()
	time.Sleep(measure)
	perSecond = float64(l.reports.Load()-before) / measure.Seconds() / 2
	l.pace.SetLimit(rate.Limit(perSecond))
	return perSecond
}

// end ends the load and returns the last acknowledged record of each client.
func (l *churnLoad) end() map[string]string {
	l.stop()
	l.running.Wait()
	return l.latest
}

// comeAndGo connects to a server again and again, and each time calls use until that
// returns an error or the connection has lived for its time: 1 s to longest.
func (l *churnLoad) comeAndGo(address string, longest time.Duration, use func(until context.Context, conn net.Conn, in *bufio.Reader) error) {
	for l.ctx.Err() == nil {
		conn, err := net.Dial("tcp", address)
		if err != nil {
			time.Sleep(10 * time.Millisecond) // until the server runs again
			continue
		}
		until, cancel := context.WithTimeout(l.ctx, time.Second+rand.N(longest-time.Second))
		conn.SetDeadline(time.Now().Add(patience))
		for in := bufio.NewReader(conn); err == nil && until.Err() == nil; {
			err = use(until, conn, in)
		}
		cancel()
		conn.Close()
	}
}

// ask asks for a client once, and then waits.
func (l *churnLoad) ask(client string) func(until context.Context, conn net.Conn, in *bufio.Reader) error {
	return func(until context.Context, conn net.Conn, in *bufio.Reader) error {
		if _, err := fmt.Fprintf(conn, "WHATSAT %s 0 0\n", client); err != nil {
			return err
		}
		line, err := in.ReadString('\n')
		if err != nil {
			return err
		}
		if !strings.HasPrefix(line, "AT ") { // a server that was killed has it again before it is ready
			l.t.Errorf("%q in reply to a request for %s", line, client)
		}
		<-until.Done()
		return nil
	}
}

// visitor reports its clients in turn.
type visitor struct {
	*churnLoad
	name    string
	clients int
	n       int // reports so far
}

func (v *visitor) visit(until context.Context, conn net.Conn, in *bufio.Reader) error {
	if err := v.pace.WaitN(until, inFlight); err != nil {
		return err
	}
	return v.report(conn, in)
}

// report sends the next reports and reads the replies. No two reports have the same time.
func (v *visitor) report(conn net.Conn, in *bufio.Reader) error {
	var lines bytes.Buffer
	var ids [inFlight]string
	for i := range ids {
		ids[i] = fmt.Sprintf("%s%d", v.name, v.n%v.clients)
		fmt.Fprintf(&lines, "IAMAT %s +34.068930-118.445127 %d.%09d\n", ids[i], time.Now().Unix(), v.n)
		v.n++
	}
	if _, err := conn.Write(lines.Bytes()); err != nil {
		return err
	}
	for _, id := range ids {
		reply, err := in.ReadString('\n')
		if err != nil {
			return err
		}
		if !strings.HasPrefix(reply, "AT ") || !strings.Contains(reply, " "+id+" ") {
			v.t.Errorf("%q in reply to a report of %s", reply, id)
		}
		v.reports.Add(1)
		v.mu.Lock()
		v.latest[id] = strings.TrimSuffix(reply, "\n")
		v.mu.Unlock()
	}
	return nil
}

// lost counts the clients of which a server has neither the last acknowledged record nor a
// later one.
func lost(t *testing.T, addresses, acknowledged map[string]string) (lost int) {
	t.Helper()
	missing := map[string]bool{}
	for name, address := range addresses {
		held := records(t, address, slices.Collect(maps.Keys(acknowledged)))
		for id, want := range acknowledged {
			if held[id] != want && !newer(t, held[id], want) {
				if len(missing) < 5 {
					t.Errorf("%s has %q of %s, want %q", name, held[id], id, want)
				}
				missing[id] = true
			}
		}
	}
	return len(missing)
}
