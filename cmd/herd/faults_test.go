package main

import (
	"flag"
	"fmt"
	"strings"
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

	h.awaitEqual()
	lost, of := load.lost(h.addresses)
	fmt.Fprintf(t.Output(), "| %s | %.0f | %.1f | %.1f | %d of %d |\n",
		f.name, float64(reports)/lasted.Seconds(), inStep.Seconds(), slowest.Seconds(), lost, of)
	if worst := max(inStep, slowest); *longFaults && worst > healWithin {
		t.Errorf("in step and caught up %v after the heal, want %v at most", worst, healWithin)
	}
	for _, name := range g.Servers() {
		h.servers[name].stop()
	}
}
