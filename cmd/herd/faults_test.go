//go:build linux

package main

import (
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"herd/bus/topology"
	"herd/node/replica"
)

// fault is a temporary fault of a herd.
type fault struct {
	name    string
	lasts   time.Duration
	prepare func(*herdProcesses) // before the herd starts; nil for nothing. It may skip the test
	begin   func(*herdProcesses)
	heal    func(*herdProcesses)
	symptom string // a regular expression for a log message that shows that the fault had an effect; "" for none
}

// TestFaults causes a fault of a server, the broker or a link in a herd of processes,
// under load at all servers, and ends it. No record whose reply a client has read may be
// lost, and all servers must end with the same map. It prints rows of FAULTS.md.
func TestFaults(t *testing.T) {
	for _, spec := range []string{"goloman", "riley"} {
		graph, err := topology.Load(spec)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range faultsOf(graph) {
			if name := spec + ": " + f.name; !*longFaults && !inShort[name] || testing.Short() && !inShortest[name] {
				continue
			}
			t.Run(spec+"/"+strings.ReplaceAll(f.name, " ", "_"), func(t *testing.T) {
				if !*longFaults {
					t.Parallel()
				}
				f.run(newProcesses(t, spec), nil)
			})
		}
	}
}

// inShort are the faults that are tried without -long: one of each kind, and the link
// that is a server's only one.
var inShort = map[string]bool{
	"goloman: link Holiday-Welsh lost for 5s": true,
	"goloman: link Goloman-Hands lost for 1s": true,
	"goloman: Wilkes cut off for 5s":          true,
	"goloman: broker killed, back after 2s":   true,
	"riley: broker stopped for 5s":            true,
	"riley: Bernard stopped for 10s":          true,
	"riley: Juzang killed, back after 1s":     true,
	"riley: link Juzang-Campbell lost for 5s": true,

	"goloman: Hands' disk full for 5s":                 true,
	"goloman: flushes of Hands take 2s for 10s":        true,
	"goloman: the topology lacks Goloman-Hands for 5s": true,
	"riley: broker with a max_payload of 4 KB for 5s":  true,
}

// inShortest are the faults that are tried with -short.
var inShortest = map[string]bool{
	"riley: Juzang killed, back after 1s":              true,
	"riley: link Juzang-Campbell lost for 5s":          true,
	"goloman: the topology lacks Goloman-Hands for 5s": true,
}

// faultsOf returns all faults of a herd.
func faultsOf(g *topology.Graph) (faults []fault) {
	for _, e := range g.Edges() {
		a, b := e.A, e.B
		for _, lasts := range []time.Duration{time.Second, 5 * time.Second} { // shorter and longer than the neighbours need to notice
			sever := func(cut bool) func(*herdProcesses) {
				return func(h *herdProcesses) {
					h.relays[a].drop(b, cut)
					h.relays[b].drop(a, cut)
				}
			}
			symptom := fmt.Sprintf("neighbour down.* edge=%s", b)
			if lasts < replica.DownAfter {
				symptom = fmt.Sprintf("messages of %s were lost", b)
			}
			faults = append(faults, fault{fmt.Sprintf("link %s-%s lost for %v", a, b, lasts), lasts, nil, sever(true), sever(false), symptom})
		}
	}
	for _, name := range g.Servers() {
		faults = append(faults,
			fault{name + " cut off for 5s", 5 * time.Second, nil,
				func(h *herdProcesses) { h.relays[name].freeze() }, func(h *herdProcesses) { h.relays[name].thaw() }, "neighbour down.* edge=" + name},
			fault{name + " stopped for 10s", 10 * time.Second, nil,
				func(h *herdProcesses) { h.servers[name].signal(syscall.SIGSTOP) }, func(h *herdProcesses) { h.servers[name].signal(syscall.SIGCONT) }, "neighbour down.* edge=" + name},
			fault{name + " killed, back after 1s", time.Second, nil,
				func(h *herdProcesses) { h.servers[name].kill() }, func(h *herdProcesses) { h.serve(name) }, "neighbour down.* edge=" + name},
		)
	}
	faults = append(faults, diskFaults(g.Servers()[1])...)
	faults = append(faults, configurationFaults(g.Edges()[0])...)
	return append(faults,
		fault{"broker killed, back after 2s", 2 * time.Second, nil,
			func(h *herdProcesses) { h.broker.kill() }, func(h *herdProcesses) { h.startBroker(h.brokerAt) }, "NATS disconnected"},
		fault{"broker stopped for 5s", 5 * time.Second, nil,
			func(h *herdProcesses) { h.broker.signal(syscall.SIGSTOP) }, func(h *herdProcesses) { h.broker.signal(syscall.SIGCONT) }, "neighbour down"},
	)
}

// run runs a herd through the fault. watch, if not nil, is called once the herd is in step, and what
// it returns at the end, when all maps are equal.
func (f fault) run(h *herdProcesses, watch func() (check func())) {
	t := h.t
	if f.prepare != nil {
		f.prepare(h)
	}
	h.startAll(true)
	check := func() {}
	if watch != nil {
		check = watch()
	}
	load := startFaultLoad(t, h.addresses)
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
	if f.symptom != "" {
		h.awaitSymptom(f.symptom)
	}

	h.awaitEqual()
	check()
	lost, of := load.lost(h.addresses)
	fmt.Fprintf(t.Output(), "| %s | %.0f | %.1f | %.1f | %d of %d |\n",
		f.name, float64(reports)/lasted.Seconds(), inStep.Seconds(), slowest.Seconds(), lost, of)
	if worst := max(inStep, slowest); *longFaults && worst > healWithin {
		t.Errorf("in step and caught up %v after the heal, want %v at most", worst, healWithin)
	}
	for _, name := range h.graph.Servers() {
		h.servers[name].stop()
	}
}
