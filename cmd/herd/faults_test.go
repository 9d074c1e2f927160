package main

import (
	"bufio"
	"bytes"
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
	"syscall"
	"testing"
	"time"

	"herd/bus/topology"
	"herd/node/replica"
)

var longFaults = flag.Bool("long", false, "TestFaults: every fault of both herds, and each heal within 5 s")

// fault is one thing that goes wrong in a herd, for a while.
type fault struct {
	name  string
	lasts time.Duration
	begin func(*processHerd)
	heal  func(*processHerd)
	felt  string // what a server logs of it, as an expression: proof that it was one
}

// healWithin is how soon after a heal the herd must be in step again, and have
// all that was reported before; asked for with -long only, when nothing else runs.
const healWithin = 5 * time.Second

// TestFaults breaks herds of real processes, each server, the broker and each link,
// under load at all servers, and mends them: no record whose reply a client has read
// may be lost, and all servers end with the same map. What it measures it prints as
// rows of FAULTS.md.
func TestFaults(t *testing.T) {
	for _, spec := range []string{"goloman", "riley"} {
		graph, err := topology.Load(spec)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range faultsOf(graph) {
			if !*longFaults && !inShort[spec+": "+f.name] {
				continue
			}
			t.Run(spec+"/"+strings.ReplaceAll(f.name, " ", "_"), func(t *testing.T) {
				if !*longFaults {
					t.Parallel()
				}
				f.run(t, spec, graph)
			})
		}
	}
}

// inShort are the faults that are tried without -long: one of a kind, and of links
// the one bridge, which cuts a server off.
var inShort = map[string]bool{
	"goloman: link Holiday-Welsh lost for 5s": true,
	"goloman: link Goloman-Hands lost for 1s": true,
	"goloman: Wilkes cut off for 5s":          true,
	"goloman: broker killed, back after 2s":   true,
	"riley: broker stopped for 5s":            true,
	"riley: Bernard stopped for 10s":          true,
	"riley: Juzang killed, back after 1s":     true,
	"riley: link Juzang-Campbell lost for 5s": true,
}

// faultsOf is every fault of a herd.
func faultsOf(g *topology.Graph) (faults []fault) {
	for _, e := range g.Edges() {
		a, b := e.A, e.B
		for _, lasts := range []time.Duration{time.Second, 5 * time.Second} { // shorter and longer than it takes to notice
			sever := func(cut bool) func(*processHerd) {
				return func(h *processHerd) {
					h.relays[a].sever(b, cut)
					h.relays[b].sever(a, cut)
				}
			}
			felt := fmt.Sprintf("neighbour down.* edge=%s", b)
			if lasts < replica.DownAfter {
				felt = fmt.Sprintf("messages of %s were lost", b)
			}
			faults = append(faults, fault{fmt.Sprintf("link %s-%s lost for %v", a, b, lasts), lasts, sever(true), sever(false), felt})
		}
	}
	for _, name := range g.Servers() {
		faults = append(faults,
			fault{name + " cut off for 5s", 5 * time.Second,
				func(h *processHerd) { h.relays[name].freeze() }, func(h *processHerd) { h.relays[name].thaw() }, "neighbour down.* edge=" + name},
			fault{name + " stopped for 10s", 10 * time.Second,
				func(h *processHerd) { h.servers[name].signal(syscall.SIGSTOP) }, func(h *processHerd) { h.servers[name].signal(syscall.SIGCONT) }, "neighbour down.* edge=" + name},
			fault{name + " killed, back after 1s", time.Second,
				func(h *processHerd) { h.servers[name].kill() }, func(h *processHerd) { h.serve(name) }, "neighbour down.* edge=" + name},
		)
	}
	return append(faults,
		fault{"broker killed, back after 2s", 2 * time.Second,
			func(h *processHerd) { h.broker.kill() }, func(h *processHerd) { h.startBroker(h.brokerAt) }, "bus away"},
		fault{"broker stopped for 5s", 5 * time.Second,
			func(h *processHerd) { h.broker.signal(syscall.SIGSTOP) }, func(h *processHerd) { h.broker.signal(syscall.SIGCONT) }, "neighbour down"},
	)
}

func (f fault) run(t *testing.T, spec string, g *topology.Graph) {
	h := startProcesses(t, spec, g, true)
	load := startReporters(t, h.addresses)
	load.awaitReports(500)

	f.begin(h)
	time.Sleep(f.lasts)
	before := load.acknowledged()
	healed := time.Now()
	f.heal(h)

	caughtUp := make(chan time.Duration, len(h.addresses))
	for _, address := range h.addresses {
		go func() {
			awaitRecords(t, address, before)
			caughtUp <- time.Since(healed)
		}()
	}
	h.awaitInStep()
	inStep := time.Since(healed)
	var slowest time.Duration
	for range h.addresses {
		slowest = max(slowest, <-caughtUp)
	}
	lasted, reports := load.stop()
	h.awaitFelt(f.felt)

	final := load.acknowledged()
	h.awaitEqual()
	var lost int
	for name, address := range h.addresses {
		held := records(t, address, slices.Collect(maps.Keys(final)))
		for id, want := range final {
			if held[id] != want {
				if lost++; lost <= 5 {
					t.Errorf("%s has %q of %s, want %q", name, held[id], id, want)
				}
			}
		}
	}
	fmt.Fprintf(t.Output(), "| %s | %.0f | %.1f | %.1f | %d of %d |\n",
		f.name, float64(reports)/lasted.Seconds(), inStep.Seconds(), slowest.Seconds(), lost, len(final))
	if lost > 0 {
		t.Errorf("%d records lost", lost)
	}
	if worst := max(inStep, slowest); *longFaults && worst > healWithin {
		t.Errorf("in step and caught up %v after the heal, want %v at most", worst, healWithin)
	}
	for _, name := range g.Servers() {
		h.servers[name].stop()
	}
}

// reporters report to every server of a herd at once, as fast as they are answered,
// through all that befalls it.
type reporters struct {
	t     *testing.T
	began time.Time
	ended chan struct{}
	end   sync.WaitGroup
	all   []*reporter
}

// reporter is a client's connection to one server. Some clients report again and
// again, from clocks that are years off, too; others once and never again, so that
// no later report can stand in for one that was lost.
type reporter struct {
	t       *testing.T
	name    string
	address string

	mu     sync.Mutex
	n      int               // reports so far
	latest map[string]string // by client, the last reply that was read
}

const (
	inFlight = 16  // reports of one connection
	regulars = 100 // clients of one connection that report again and again
	decade   = 10 * 365 * 24 * 60 * 60
)

func startReporters(t *testing.T, addresses map[string]string) *reporters {
	t.Helper()
	l := &reporters{t: t, began: time.Now(), ended: make(chan struct{})}
	for name, address := range addresses {
		r := &reporter{t: t, name: name, address: address, latest: map[string]string{}}
		l.all = append(l.all, r)
		l.end.Go(func() { r.run(l.ended) })
	}
	return l
}

// awaitReports waits until each reporter has made n.
func (l *reporters) awaitReports(n int) {
	l.t.Helper()
	eventually(l.t, func() error {
		for _, r := range l.all {
			if r.mu.Lock(); r.n < n {
				defer r.mu.Unlock()
				return fmt.Errorf("%s has answered %d reports", r.name, r.n)
			}
			r.mu.Unlock()
		}
		return nil
	})
}

// acknowledged is the last reply that was read for each client.
func (l *reporters) acknowledged() map[string]string {
	all := map[string]string{}
	for _, r := range l.all {
		r.mu.Lock()
		maps.Copy(all, r.latest)
		r.mu.Unlock()
	}
	return all
}

// stop ends the load when every regular has had a last report answered. It returns
// how long all lasted and how many reports there were.
func (l *reporters) stop() (lasted time.Duration, reports int) {
	l.t.Helper()
	close(l.ended)
	l.end.Wait()
	for _, r := range l.all {
		reports += r.n
	}
	return time.Since(l.began), reports
}

func (r *reporter) run(ended chan struct{}) {
	last := math.MaxInt // the report to end at
	var conn net.Conn
	var in *bufio.Reader
	defer func() {
		if conn != nil {
			conn.Close()
		}
	}()
	for r.n < last {
		select {
		case <-ended:
			last = min(last, r.n+regulars+regulars/8)
		default:
		}
		if conn == nil {
			var err error
			if conn, err = net.Dial("tcp", r.address); err != nil {
				time.Sleep(10 * time.Millisecond) // until there is a server again
				continue
			}
			in = bufio.NewReader(conn)
		}
		if err := r.report(conn, in); err != nil {
			conn.Close()
			conn = nil
		}
	}
}

// report makes the next reports and reads the replies.
func (r *reporter) report(conn net.Conn, in *bufio.Reader) error {
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
	r.n += inFlight // counted whatever becomes of them: no time is said twice
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
			r.t.Errorf("%s answered %q to a report of %s", r.name, reply, id)
		}
		r.mu.Lock()
		r.latest[id] = strings.TrimSuffix(reply, "\n")
		r.mu.Unlock()
	}
	return nil
}

// awaitRecords waits until a server has the records in want, or newer ones.
func awaitRecords(t *testing.T, address string, want map[string]string) {
	missing := slices.Collect(maps.Keys(want))
	for deadline := time.Now().Add(patience); len(missing) > 0 && !t.Failed(); {
		held := records(t, address, missing)
		missing = slices.DeleteFunc(missing, func(id string) bool { return held[id] == want[id] || newer(t, held[id], want[id]) })
		if time.Now().After(deadline) {
			t.Errorf("%s lacks %d records, of %s for one", address, len(missing), missing[0])
			return
		}
	}
}

// records is what a server says of clients.
func records(t *testing.T, address string, ids []string) map[string]string {
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
			t.Errorf("asking %s: %v", address, err)
			return held
		}
	}
	return held
}
