package main

import (
	"flag"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"testing"
	"time"
)

var churn = flag.Duration("churn", 0, "TestChurn: for how long; 0 causes a few faults only and compares no sizes")

// disturbance is something that happens to a herd again and again.
type disturbance struct {
	name  string
	cause func(*herdProcesses)
	short bool // also without -churn
}

// disturbances restart Holiday and Wilkes only. The other servers are measured.
var disturbances = []disturbance{
	{"Holiday stops and starts", func(h *herdProcesses) {
		h.servers["Holiday"].stop()
		h.serve("Holiday")
	}, true},
	{"no byte passes between Goloman and the broker for 4s", func(h *herdProcesses) {
		h.relays["Goloman"].freeze()
		time.Sleep(4 * time.Second)
		h.relays["Goloman"].thaw()
	}, false},
	{"Wilkes is killed, and back after 1s", func(h *herdProcesses) {
		h.servers["Wilkes"].kill()
		time.Sleep(time.Second)
		h.serve("Wilkes")
	}, true},
	{"the connection of Hands breaks three times", func(h *herdProcesses) {
		for range 3 {
			h.relays["Hands"].reset()
			time.Sleep(300 * time.Millisecond)
		}
	}, true},
	{"link Holiday-Welsh lost for 2s", func(h *herdProcesses) {
		for _, lost := range []bool{true, false} {
			h.relays["Holiday"].drop("Welsh", lost)
			h.relays["Welsh"].drop("Holiday", lost)
			if lost {
				time.Sleep(2 * time.Second)
			}
		}
	}, false},
	{"Holiday is killed, and back at once", func(h *herdProcesses) {
		h.servers["Holiday"].kill()
		h.serve("Holiday")
	}, false},
	{"Wilkes stops and starts", func(h *herdProcesses) {
		h.servers["Wilkes"].stop()
		h.serve("Wilkes")
	}, false},
	{"the connection of Welsh breaks", func(h *herdProcesses) { h.relays["Welsh"].reset() }, false},
}

// size is what a process has taken of the system at one moment.
type size struct{ resident, goroutines, files float64 }

// flat is how much a size may grow from the beginning, after the maps are full, to the end.
const flat = 1.05

// TestChurn runs a herd of processes at half of its maximum load while clients come and
// go, servers restart and links fail, one thing at a time. No acknowledged record may be
// lost, all maps must be equal in the end, and the servers that never restart must not
// grow. It prints the figures of FAULTS.md. With -churn 20m, also set -timeout.
func TestChurn(t *testing.T) {
	if deadline, ok := t.Deadline(); ok && time.Until(deadline) < *churn+2*time.Minute {
		t.Fatalf("the test ends at %v: set -timeout to more than %v", deadline, *churn+2*time.Minute)
	}
	if *churn == 0 {
		t.Parallel()
	}
	h := newProcesses(t, "goloman")
	ops := map[string]string{}
	for _, name := range h.graph.Servers() {
		ops[name] = freeAddress(t)
		h.env[name] = append(h.env[name], "HERD_OPS_LISTEN="+ops[name])
	}
	for _, name := range []string{"Hands", "Holiday", "Welsh"} {
		h.env[name] = append(h.env[name], "HERD_JOURNAL=ack", "HERD_DATA_DIR="+t.TempDir())
	}
	h.startAll(true)
	clients, measure := fewClients, time.Second
	if *churn > 0 {
		clients, measure = manyClients, 10*time.Second
	}
	load := startChurnLoad(t, h.addresses, clients)
	began := time.Now()
	perSecond := load.halve(measure)

	measured := []string{"Goloman", "Hands", "Welsh"}
	sizes := map[string][]size{}
	sampled := make(chan struct{})
	go func() {
		defer close(sampled)
		for *churn > 0 && time.Since(began) < *churn {
			for _, name := range measured {
				if s, err := sizeOf(ops[name]); err != nil {
					t.Error(err)
				} else {
					sizes[name] = append(sizes[name], s)
				}
			}
			time.Sleep(2 * time.Second)
		}
	}()
	happened := 0
	for round := 0; round == 0 || time.Since(began) < *churn; round++ {
		for _, d := range disturbances {
			if *churn == 0 && !d.short || *churn > 0 && time.Since(began) >= *churn {
				continue
			}
			d.cause(h)
			h.awaitInStep()
			if t.Failed() {
				t.Fatalf("after: %s", d.name)
			}
			happened++
		}
	}
	<-sampled
	acknowledged := load.end()

	h.awaitEqual()
	status := start(t, []string{"HERD_TOPOLOGY=goloman", "HERD_NATS_URL=nats://" + h.brokerAt}, "status", "--wait", "30s")
	if got := status.status(); got != exitOK {
		t.Errorf("herd status: exit status %d:\n%s", got, status.stdout.String())
	}
	fmt.Fprintf(t.Output(), "%v, %d disturbances, %d reports, paced to %.0f/s; %d of %d acknowledged records lost\n",
		time.Since(began).Round(time.Second), happened, load.reports.Load(), perSecond, lost(t, h.addresses, acknowledged), len(acknowledged))
	if *churn > 0 {
		for _, name := range measured {
			compareSizes(t, name, sizes[name])
		}
	}
	for _, name := range h.graph.Servers() {
		h.servers[name].stop()
	}
}

// sizeOf collects a process's garbage and measures it.
func sizeOf(ops string) (s size, err error) {
	if _, err := get("http://" + ops + "/debug/pprof/heap?gc=1"); err != nil {
		return s, err
	}
	metrics, err := get("http://" + ops + "/metrics")
	if err != nil {
		return s, err
	}
	for name, value := range map[string]*float64{
		"process_resident_memory_bytes": &s.resident, "go_goroutines": &s.goroutines, "process_open_fds": &s.files,
	} {
		match := regexp.MustCompile(`(?m)^` + name + ` (\S+)$`).FindStringSubmatch(metrics)
		if match == nil {
			return s, fmt.Errorf("%s has no metric %s", ops, name)
		}
		if *value, err = strconv.ParseFloat(match[1], 64); err != nil {
			return s, err
		}
	}
	return s, nil
}

func get(url string) (string, error) {
	reply, err := http.Get(url)
	if err != nil {
		return "", err
	}
	defer reply.Body.Close()
	body, err := io.ReadAll(reply.Body)
	return string(body), err
}

// compareSizes compares the medians of two windows of a run: after the maps are full, and
// the end.
func compareSizes(t *testing.T, name string, all []size) {
	t.Helper()
	n := len(all)
	if n < 20 {
		t.Errorf("%s was measured %d times only", name, n)
		return
	}
	first, last := all[n*3/10:n*5/10], all[n*8/10:]
	for _, of := range []struct {
		what  string
		value func(size) float64
	}{
		{"resident memory, MB", func(s size) float64 { return s.resident / 1e6 }},
		{"goroutines", func(s size) float64 { return s.goroutines }},
		{"open files", func(s size) float64 { return s.files }},
	} {
		before, after := median(first, of.value), median(last, of.value)
		fmt.Fprintf(t.Output(), "| %s | %s | %.1f | %.1f | %+.1f %% |\n", name, of.what, before, after, 100*(after/before-1))
		if after > before*flat {
			t.Errorf("%s: %s grew from %.1f to %.1f", name, of.what, before, after)
		}
	}
}

func median(sizes []size, value func(size) float64) float64 {
	var all []float64
	for _, s := range sizes {
		all = append(all, value(s))
	}
	slices.Sort(all)
	return all[len(all)/2]
}
