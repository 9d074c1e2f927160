package node

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"herd/bus"
	"herd/node/wire"
)

// TestStop: complete lines that were read are answered and flooded, and the neighbour has
// confirmed them when Run returns.
func TestStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newTestHerd(t, "A-B")
		h.start("A", 1, func(cfg *Config) { cfg.Places = slowPlaces(2 * time.Second) })
		h.start("B", 2, nil)
		settle()
		h.network.SetDelay(100 * time.Millisecond)
		c := h.dial("A")
		c.send("IAMAT kiwi +1+1 1\nWHATSAT kiwi 10 5\nIAMAT kiwi +1+1 2\nan unfinished line")
		c.line()
		began := time.Now()
		stopped := make(chan error, 1)
		go func() { stopped <- h.servers["A"].stop() }()
		settle()
		for range 3 {
			c.line() // of the WHATSAT
		}
		last := c.line()
		if rest, err := io.ReadAll(c.r); len(rest) > 0 || err != nil {
			t.Errorf("after the last reply: %q, %v, want the end", rest, err)
		}
		if err := <-stopped; err != nil {
			t.Errorf("Run = %v, want nil", err)
		}
		// The last report was flooded at once. Run waits for its reply.
		if got := h.record("B", "kiwi"); got != last {
			t.Errorf("when A has stopped, B has %q, want %q", got, last)
		}
		if took := time.Since(began); took < 2*time.Second-10*time.Millisecond || took > 3*time.Second {
			t.Errorf("the stop took %v, want 2 s to 3 s", took)
		}
	})
}

// TestStopUnconfirmed: if records cannot be sent to a neighbour that is up, Run returns an
// error after stopTimeout. It does not wait for a neighbour that is down.
func TestStopUnconfirmed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newTestHerd(t, "A-B")
		slow := startSlow(h, "A")
		h.start("B", 2, nil)
		settle()
		slow.set(nil, errors.New("not now"))
		h.dial("A").ask("IAMAT kiwi +1+1 1")
		began := time.Now()
		err := h.servers["A"].stop()
		if err == nil || !strings.Contains(err.Error(), "1 record was not sent within 8s") {
			t.Errorf("Run = %v, want an error with the number of records", err)
		}
		if took := time.Since(began); took != stopTimeout {
			t.Errorf("the stop took %v, want %v", took, stopTimeout)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		h := newTestHerd(t, "A-B")
		h.start("A", 1, nil)
		time.Sleep(time.Second)
		h.dial("A").ask("IAMAT kiwi +1+1 1")
		began := time.Now()
		if err := h.servers["A"].stop(); err != nil || time.Since(began) != 0 {
			t.Errorf("Run = %v after %v, with its neighbour down, want nil at once", err, time.Since(began))
		}
	})
}

// TestListenerFails: if the listener fails, the server ends its sessions as in a stop.
func TestListenerFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newSolo(t, nil)
		settle()
		c := h.dial("Solo")
		c.ask("IAMAT kiwi +1+1 1")
		settle()
		began := time.Now()
		h.servers["Solo"].ln.Close()
		if rest, err := io.ReadAll(c.r); len(rest) > 0 || err != nil {
			t.Errorf("read %q, %v, want the end", rest, err)
		}
		if took := time.Since(began); took > time.Second {
			t.Errorf("the session ended %v after the listener, want at most a second", took)
		}
	})
}

// TestStopAfterFailedFlush: a flush that failed once does not make a stop wait for
// neighbours that are down.
func TestStopAfterFailedFlush(t *testing.T) {
	for name, then := range map[string]func(*testHerd, *slowBus){
		"bus disconnected": func(h *testHerd, _ *slowBus) { h.network.Stop() },
		"neighbour down": func(h *testHerd, s *slowBus) {
			h.network.Cut("A", "B")
			time.Sleep(5 * time.Second)
			s.set(nil, nil)
			time.Sleep(2 * time.Second)
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := newTestHerd(t, "A-B")
				slow := startSlow(h, "A")
				h.start("B", 2, nil)
				settle()
				slow.set(nil, bus.ErrUncertain)
				h.dial("A").ask("IAMAT kiwi +1+1 1")
				then(h, slow)
				began := time.Now()
				if err := h.servers["A"].stop(); err != nil || time.Since(began) > time.Second {
					t.Errorf("Run = %v after %v, want nil at once", err, time.Since(began))
				}
			})
		})
	}
}

// TestHandOverWaits: a hand-over that cannot make progress waits between its attempts.
func TestHandOverWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newTestHerd(t, "A-B")
		counting := &countingBus{Bus: h.network.Bus("A", "B"), lane: bus.Heartbeat}
		a := New(Config{Name: "A", Neighbours: []string{"B"}, Epoch: 1, Limits: generous, Repair: time.Minute, Bus: counting, Places: noPlaces{}, Log: discard})
		a.Connected(true)
		a.Receive(bus.Message{Lane: bus.Heartbeat, Peer: "B", Data: wire.Heartbeat{Epoch: 2, Format: wire.Format}.Append(nil)})
		a.bus = disconnected // while the edge is up: nothing can be sent
		a.replica.IAmAt(nil, wire.ParseCommand([]byte("IAMAT kiwi +1+1 1")), time.Now())
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		before := counting.count.Load()
		if err := a.handOver(ctx); err == nil {
			t.Error("handOver = nil, and nothing was sent")
		}
		if n := counting.count.Load() - before; n > 100 {
			t.Errorf("%d attempts in a second", n)
		}
	})
}

// TestStrayHeartbeat: a heartbeat that is handled after the connection was lost does not
// bring its neighbour up.
func TestStrayHeartbeat(t *testing.T) {
	h := newTestHerd(t, "A-B")
	a := New(Config{Name: "A", Neighbours: []string{"B"}, Epoch: 1, Limits: generous, Repair: time.Minute, Bus: h.network.Bus("A", "B"), Places: noPlaces{}, Log: discard})
	heartbeat := bus.Message{Lane: bus.Heartbeat, Peer: "B", Data: wire.Heartbeat{Epoch: 2, Format: wire.Format}.Append(nil)}
	a.Connected(true)
	a.Receive(heartbeat)
	if !a.Stats().Edges[0].Up {
		t.Fatal("B is not up")
	}
	a.Connected(false)
	a.Receive(heartbeat)
	if a.Stats().Edges[0].Up {
		t.Error("B is up while the bus is disconnected")
	}
}
