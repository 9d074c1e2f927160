package node

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"herd/bus"
	"herd/node/replica"
	"herd/node/wire"
	"herd/places"
)

// panickyPlaces is a places source that panics.
type panickyPlaces struct{}

func (panickyPlaces) Nearby(context.Context, places.Query) ([]byte, error) { panic("no places") }

// logBuffer collects a log. It is safe for concurrent use.
type logBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// TestPanicInSession: a panic closes the connection whose input caused it, with a log
// line and a count. Other connections are served. It makes no difference that a query of
// places runs in a goroutine of its source.
func TestPanicInSession(t *testing.T) {
	t.Run("plain", func(t *testing.T) { testPanicInSession(t, panickyPlaces{}) })
	t.Run("shared", func(t *testing.T) {
		testPanicInSession(t, places.NewSingleflight(panickyPlaces{}, time.Minute, discard))
	})
}

func testPanicInSession(t *testing.T, source places.Source) {
	synctest.Test(t, func(t *testing.T) {
		var log logBuffer
		h := newSolo(t, func(cfg *Config) {
			cfg.Places = source
			cfg.Log = slog.New(slog.NewTextHandler(&log, nil))
		})
		settle()
		other := h.dial("Solo")
		other.ask("IAMAT kiwi +1+1 1")
		c := h.dial("Solo")
		const before = 200 // lines of the same read
		c.send(strings.Repeat("x\n", before) + "WHATSAT kiwi 10 5\ny\n")
		for range before {
			if got := c.line(); got != "? x\n" {
				t.Errorf("a reply before the panic is %q", got)
			}
		}
		if rest, err := io.ReadAll(c.r); len(rest) > 0 || err != nil {
			t.Errorf("after the panic: %q, %v, want the end", rest, err)
		}
		if got := other.ask("IAMAT kiwi +1+1 2"); !strings.HasPrefix(got, "AT ") {
			t.Errorf("the reply to another client is %q", got)
		}
		settle() // the session ends after its connection
		if s := h.servers["Solo"].node.Stats(); s.Panics != 1 || s.Clients != 1 {
			t.Errorf("%d panics, %d clients, want 1 of each", s.Panics, s.Clients)
		}
		for _, want := range []string{"no places", `WHATSAT kiwi 10 5`, "panickyPlaces"} {
			if !strings.Contains(log.String(), want) {
				t.Errorf("the log does not contain %q:\n%s", want, log.String())
			}
		}
	})
}

// TestPanicInMessage: a panic drops the neighbour's message that caused it, with a log
// line and a count. The lock is free again, and the next message is merged.
func TestPanicInMessage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log logBuffer
		h := newTestHerd(t, "A-B")
		a := h.start("A", 1, func(cfg *Config) { cfg.Log = slog.New(slog.NewTextHandler(&log, nil)) }).node
		settle()
		a.mu.Lock()
		a.replica = replica.New(replica.Config{Name: "A", Topology: replica.Topology{Neighbours: []string{"B"}}, Epoch: 1, OnMerge: func(m replica.Merged) {
			if bytes.Contains(m.Line, []byte("poison")) {
				panic("poisoned")
			}
		}})
		a.mu.Unlock()
		for _, client := range []string{"poison", "kiwi"} {
			a.Receive(bus.Message{Lane: bus.Records, Peer: "B", Data: []byte("AT B +1.000000000 " + client + " +1+1 100")})
		}
		if _, ok := a.Record([]byte("kiwi")); !ok || a.Stats().Panics != 1 {
			t.Errorf("the next record is merged: %v, %d panics, want true and 1", ok, a.Stats().Panics)
		}
		if !strings.Contains(log.String(), "poisoned") || !strings.Contains(log.String(), "AT B +1.000000000 poison +1+1 100") {
			t.Errorf("the log does not contain the panic and its input:\n%s", log.String())
		}
	})
}

// TestPanicLeavesLockFree: a panic in any message leaves the lock free.
func TestPanicLeavesLockFree(t *testing.T) {
	for lane, data := range map[bus.Lane][]byte{
		bus.Records:     []byte("AT B +1.000000000 kiwi +1+1 100"),
		bus.Heartbeat:   wire.Heartbeat{Epoch: 2}.Append(nil),
		bus.SyncRequest: wire.Sync{Kind: wire.RequestLines, Body: wire.AppendBucket(nil, 1, nil)}.Append(nil),
		bus.SyncReply:   wire.Sync{Kind: wire.ReplyLines, Body: []byte("AT B +1.000000000 kiwi +1+1 100")}.Append(nil),
	} {
		h := newTestHerd(t, "A-B")
		a := New(Config{Name: "A", Neighbours: []string{"B"}, Epoch: 1, Limits: generous, Repair: time.Minute, Bus: h.network.Bus("A", "B"), Places: noPlaces{}, Log: discard})
		a.bus = connected
		a.replica = replica.New(replica.Config{Name: "A", Repair: time.Minute, OnMerge: func(replica.Merged) { panic("no edges") }}) // each use of an edge panics, too
		a.receive(0, bus.Message{Lane: lane, Peer: "B", Epoch: 2, Seq: 1, Data: data})
		if lane != bus.SyncRequest && a.panics.Load() != 1 {
			t.Errorf("%s: %d panics, want 1", lane, a.panics.Load())
		}
		if !a.mu.TryLock() {
			t.Fatalf("%s: the lock is held after the panic", lane)
		}
		a.mu.Unlock()
	}
}

// TestDroppedFrameIsNotConfirmed: a frame that a panic dropped is not confirmed to its
// sender, and the next one shows the gap.
func TestDroppedFrameIsNotConfirmed(t *testing.T) {
	h := newTestHerd(t, "A-B")
	a := New(Config{Name: "A", Neighbours: []string{"B"}, Epoch: 1, Limits: generous, Repair: time.Minute, Bus: h.network.Bus("A", "B"), Places: noPlaces{}, Log: discard})
	a.bus = connected
	a.replica = replica.New(replica.Config{Name: "A", Topology: replica.Topology{Neighbours: []string{"B"}}, Epoch: 1, Repair: time.Minute, OnMerge: func(m replica.Merged) {
		if bytes.Contains(m.Line, []byte("poison")) {
			panic("poisoned")
		}
	}})
	a.Receive(bus.Message{Lane: bus.Heartbeat, Peer: "B", Data: wire.Heartbeat{Epoch: 2, Format: wire.Format}.Append(nil)})
	for seq, client := range []string{"kiwi", "poison", "emu"} {
		a.Receive(bus.Message{Lane: bus.Records, Peer: "B", Epoch: 2, Seq: uint64(seq) + 1, Data: []byte("AT B +1.000000000 " + client + " +1+1 100")})
	}
	if m := a.replica.Heartbeat(0, time.Now()).Merged; m.Seq != 1 {
		t.Errorf("confirmed up to %d, want 1", m.Seq)
	}
	if lost := a.Stats().Edges[0].Lost; lost != 1 {
		t.Errorf("%d messages count as lost, want 1", lost)
	}
}
