package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"herd/bus"
	"herd/node/replica"
	"herd/node/wire"
)

// TestReadyWhenDisconnected: a server that has been ready is unready while NATS is
// disconnected and when it stops. A WHATSAT does not wait then.
func TestReadyWhenDisconnected(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newTestHerd(t, "A-B").startAll()
		a := h.servers["A"].node
		expect := func(when, want string) {
			t.Helper()
			settle()
			switch err := a.Ready(); {
			case want == "" && err != nil, want != "" && (err == nil || err.Error() != want):
				t.Errorf("%s: Ready = %v, want %q", when, err, want)
			}
		}
		expect("started", "")
		h.network.Stop()
		expect("disconnected", "A: NATS is disconnected")
		if s := a.Status(); s.Edges[0].Up || s.Ready || !strings.Contains(s.Why, "disconnected") {
			t.Errorf("Status while disconnected = %+v", s)
		}
		began := time.Now()
		if h.dial("A").ask("WHATSAT kiwi 0 0"); time.Since(began) > 0 {
			t.Error("a WHATSAT waited, although the server has been ready before")
		}
		h.network.Start()
		expect("connected again", "")
		if err := h.servers["A"].stop(); err != nil {
			t.Fatal(err)
		}
		expect("stopped", "A: stopping")
	})
}

// TestWhatsAtAwaitsReady: a WHATSAT waits until the server is ready. An IAMAT does not.
func TestWhatsAtAwaitsReady(t *testing.T) {
	tests := []struct {
		name  string
		setUp func(*testHerd)
		ready time.Duration
	}{
		{"no heartbeat from the neighbour", func(h *testHerd) {}, replica.GreetingTimeout},
		{"neighbour is ready", func(h *testHerd) { h.start("B", 2, nil) }, 0},
		{"NATS not reachable", func(h *testHerd) { h.network.Stop() }, connectTimeout},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := newTestHerd(t, "A-B")
				tt.setUp(h)
				began := time.Now()
				h.start("A", 1, nil)
				c := h.dial("A")
				want := c.ask("IAMAT kiwi +1+1 1")
				if waited := time.Since(began); waited > nameClaimTimeout {
					t.Errorf("IAMAT took %v, want at most %v", waited, nameClaimTimeout)
				}
				if got := c.ask("WHATSAT kiwi 0 0"); got != want {
					t.Errorf("got %q, want %q", got, want)
				}
				const tolerance = 20 * time.Millisecond // readiness is polled
				if waited := time.Since(began); waited < tt.ready || waited > tt.ready+tolerance {
					t.Errorf("the reply to WHATSAT came %v after the start, want %v", waited, tt.ready)
				}
			})
		})
	}
}

// failingBus is a bus whose Run fails at once, as when another process has the name.
type failingBus struct{ Bus }

func (failingBus) Run(context.Context, bus.Handler) error { return bus.ErrNameTaken }

// TestFailedStart: a server whose bus fails at the start neither says that it is ready nor
// that it listens.
func TestFailedStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log logBuffer
		h := newTestHerd(t, "A-B")
		s := h.start("A", 1, func(cfg *Config) {
			cfg.Bus = failingBus{cfg.Bus}
			cfg.Log = slog.New(slog.NewTextHandler(&log, nil))
		})
		synctest.Wait()
		if err := s.stop(); !errors.Is(err, bus.ErrNameTaken) {
			t.Errorf("Run = %v, want %v", err, bus.ErrNameTaken)
		}
		if text := log.String(); strings.Contains(text, "ready") || strings.Contains(text, "listening") {
			t.Errorf("the log says\n%s", text)
		}
	})
}

// limitedBus is a bus with a problem.
type limitedBus struct {
	Bus
	problem error
}

func (b limitedBus) Problem() error { return b.problem }

// TestBusProblem: a problem of the bus is why a server is not ready. It holds WHATSAT back
// only where it keeps the server off all edges. Permissions for single subjects count only
// while no edge is up.
func TestBusProblem(t *testing.T) {
	limit, denied := errors.New("the broker has a limit"), fmt.Errorf("%w: some subjects", bus.ErrDenied)
	for _, tt := range []struct {
		name, topology string
		start          []string
		problem        error
		ready          string // of A; "" for ready
		open           bool   // WHATSAT is answered
	}{
		{"no edge up", "A-B", []string{"A"}, limit, "A: the broker has a limit", false},
		{"an edge up", "A-B", []string{"A", "B"}, limit, "A: the broker has a limit", true},
		{"denied, no edge up", "A-B", []string{"A"}, denied, "A: denied: some subjects", false},
		{"denied, an edge up", "A-B", []string{"A", "B"}, denied, "", true},
		{"no neighbours", "A", []string{"A"}, limit, "A: the broker has a limit", true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := newTestHerd(t, tt.topology)
				for i, name := range tt.start {
					h.start(name, uint64(i+1), func(cfg *Config) {
						if name == "A" {
							cfg.Bus = limitedBus{cfg.Bus, tt.problem}
						}
					})
				}
				time.Sleep(5 * time.Second)
				a := h.servers["A"].node
				got := ""
				if err := a.Ready(); err != nil {
					got = err.Error()
				}
				if got != tt.ready || a.ready.isOpen() != tt.open {
					t.Errorf("Ready = %q, WHATSAT is answered: %v; want %q, %v", got, a.ready.isOpen(), tt.ready, tt.open)
				}
			})
		})
	}
}

// TestReadinessLog: the log says ready, and not ready, when that changes, and not again and
// again while a clock is off by more and more.
func TestReadinessLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newTestHerd(t, "A-B")
		var log logBuffer
		h.start("A", 1, func(cfg *Config) { cfg.Log = slog.New(slog.NewTextHandler(&log, nil)) })
		h.start("B", 2, nil)
		time.Sleep(2 * time.Second)
		if text := log.String(); strings.Count(text, "msg=ready") != 1 || strings.Contains(text, "not ready") {
			t.Errorf("the log of a start:\n%s", text)
		}
		a := h.servers["A"].node
		a.locked(func() {
			a.replica.IAmAt(nil, wire.ParseCommand([]byte("IAMAT kiwi +1+1 100")), time.Now().Add(time.Hour))
		}) // the clock was an hour ahead
		time.Sleep(10 * time.Second)
		if text := log.String(); strings.Count(text, `msg="not ready"`) != 1 {
			t.Errorf("the log of a clock that was set back has %d lines, want one:\n%s", strings.Count(text, `msg="not ready"`), text)
		}
	})
}
