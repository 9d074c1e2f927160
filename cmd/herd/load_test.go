package main

import (
	"encoding/json"
	"os"
	"strings"
	"syscall"
	"testing"
)

// TestLoad: a load on a herd finds every reply correct and no record lost, and its
// records are at every server.
func TestLoad(t *testing.T) {
	t.Parallel()
	h := startUp(t, "goloman")
	for _, flags := range [][]string{
		{"--pipeline", "64"},
		{"--first", "--pipeline", "1", "--connections", "1"},
		{"--whatsat", "20", "--rate", "20000"},
	} {
		args := append([]string{"load", "--json", "--count", "2000", "--clients", "100"}, flags...)
		l := start(t, nil, append(args, h.addresses...)...)
		if got := l.status(); got != exitOK {
			t.Fatalf("%v: exit status %d", flags, got)
		}
		var report struct {
			OK                bool
			Commands, Replies int
			Replicated        float64 `json:"replicated_per_second"`
			Check             struct{ Records, Servers, Lost, Differing int }
		}
		if err := json.Unmarshal([]byte(l.stdout.String()), &report); err != nil {
			t.Fatal(err)
		}
		if !report.OK || report.Commands != 2000 || report.Replies != 2000 || report.Replicated <= 0 {
			t.Errorf("%v: %+v", flags, report)
		}
		if c := report.Check; c.Records != 100 || c.Servers != 5 || c.Lost+c.Differing != 0 {
			t.Errorf("%v: check %+v", flags, c)
		}
		if l.stderr.String() != "" {
			t.Errorf("%v: progress on standard error, which is not a terminal: %q", flags, l.stderr.String())
		}
	}
	for _, address := range h.addresses {
		if got := dial(t, address).lookup("load.99"); !strings.HasPrefix(got, "AT ") {
			t.Errorf("%s has %q of load.99", address, got)
		}
	}
}

// TestLoadInterrupted: Ctrl-C ends a load with the figures so far.
func TestLoadInterrupted(t *testing.T) {
	t.Parallel()
	h := startUp(t, "A")
	l := start(t, nil, "load", "--rate", "1000", "--duration", "1h", h.addresses[0])
	c := dial(t, h.addresses[0])
	for c.lookup("load.0009") == "? WHATSAT load.0009 0 0" { // until the load has begun
	}
	l.signal(os.Interrupt)
	if got := l.status(); got != exitOK || !strings.Contains(l.stdout.String(), "interrupted: the figures so far\nreplies ") {
		t.Errorf("exit status %d\n%s", got, l.stdout.String())
	}
}

// TestLoadServerKilled: the loss of a server is an error, and the figures are printed all
// the same.
func TestLoadServerKilled(t *testing.T) {
	t.Parallel()
	h := startUp(t, "A")
	l := start(t, nil, "load", "--rate", "1000", "--duration", "1h", h.addresses[0])
	c := dial(t, h.addresses[0])
	for c.lookup("load.0009") == "? WHATSAT load.0009 0 0" {
	}
	h.signal(syscall.SIGKILL)
	if got := l.status(); got != exitFailure || !strings.Contains(l.stdout.String(), "replies ") || !strings.Contains(l.stderr.String(), "failed connections: ") {
		t.Errorf("exit status %d\n%s%s", got, l.stdout.String(), l.stderr.String())
	}
}
