package node

import (
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"herd/bus"
	"herd/node/replica"
)

// TestRecordTooLarge: a record that the bus does not take because of its size does not
// block the edge.
func TestRecordTooLarge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newTestHerd(t, "A-B")
		slow := startSlow(h, "A")
		h.start("B", 2, nil)
		settle()
		c := h.dial("A")
		slow.set(nil, fmt.Errorf("no: %w", bus.ErrTooLarge))
		c.ask("IAMAT kiwi +1+1 100")
		slow.set(nil, nil)
		want := c.ask("IAMAT emu +1+1 100")
		settle()
		h.wantRecord("emu", want)
		if got := h.record("B", "kiwi"); got != "?" {
			t.Errorf("B has %q, although the bus refused it", got)
		}
		if err := h.servers["A"].stop(); err == nil || !strings.Contains(err.Error(), "1 record was too large for the bus") {
			t.Errorf("Run = %v, want an error with the number of records", err)
		}
	})
}

// TestFailedSendIsRetried: records that the bus did not take are sent again.
func TestFailedSendIsRetried(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newTestHerd(t, "A-B")
		slow := startSlow(h, "A")
		h.start("B", 2, nil)
		settle()
		slow.set(nil, bus.ErrDisconnected)
		want := h.dial("A").ask("IAMAT kiwi +1+1 100")
		slow.set(nil, nil)
		time.Sleep(replica.HeartbeatEvery + 100*time.Millisecond) // then the flush is retried
		settle()
		h.wantRecord("kiwi", want)
	})
}

// TestUncertainSendLeavesGap: the number of a frame that may have been sent is not used
// again, so that the neighbour notices if it was lost. One that was not sent leaves no gap.
func TestUncertainSendLeavesGap(t *testing.T) {
	for err, want := range map[error]uint64{bus.ErrUncertain: 1, bus.ErrDisconnected: 0} {
		synctest.Test(t, func(t *testing.T) {
			h := newTestHerd(t, "A-B")
			slow := startSlow(h, "A")
			h.start("B", 2, nil)
			settle()
			slow.set(nil, err)
			record := h.dial("A").ask("IAMAT kiwi +1+1 100")
			slow.set(nil, nil)
			time.Sleep(replica.HeartbeatEvery + 100*time.Millisecond) // then the flush is retried
			settle()
			h.wantRecord("kiwi", record)
			if got := h.servers["B"].node.Stats().Edges[0].Lost; got != want {
				t.Errorf("after %v B notices %d lost messages, want %d", err, got, want)
			}
		})
	}
}

// recordingBus notes the records that are sent. It takes some time for each call, and
// takes only small messages.
type recordingBus struct {
	Bus
	took time.Duration // by a Send of records
	most int           // MaxData

	mu   sync.Mutex
	sent map[string]string // by neighbour: all lines
}

func (b *recordingBus) Send(ms ...bus.Message) error {
	if ms[0].Lane == bus.Records {
		time.Sleep(b.took)
	}
	b.mu.Lock()
	for _, m := range ms {
		if m.Lane == bus.Records {
			b.sent[m.Peer] += string(m.Data)
		}
	}
	b.mu.Unlock()
	return b.Bus.Send(ms...)
}

func (b *recordingBus) MaxData() int { return b.most }

// has reports whether a record's line was sent to a neighbour.
func (b *recordingBus) has(peer, line string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return strings.Contains(b.sent[peer], line)
}

// TestNewsDuringBacklog: while a neighbour gets its backlog, news is sent at once, to it
// and to the others, ahead of the backlog. Replies wait for that, and not for the backlog.
func TestNewsDuringBacklog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newTestHerd(t, "A-B,A-C")
		recording := &recordingBus{took: time.Millisecond, most: 1000, sent: map[string]string{}}
		h.start("A", 1, func(cfg *Config) {
			cfg.Limits.Clients = 10_000
			recording.Bus, cfg.Bus = cfg.Bus, recording
		})
		h.start("B", 2, nil)
		h.start("C", 3, func(cfg *Config) { cfg.Repair = 0 }) // it gets everything by the flood
		settle()
		h.network.Cut("A", "C")
		time.Sleep(5 * time.Second)
		c := h.dial("A")
		const backlog = 5000 // 500 messages: half a second
		for i := range backlog {
			c.ask(fmt.Sprintf("IAMAT c%d +34.068930-118.445127 100", i))
		}
		a := h.servers["A"].node
		a.mu.Lock()
		if live, _ := a.replica.Sendable(); live != 0 {
			t.Errorf("%d records are live, want none: B has all of them, and C is down", live)
		}
		a.mu.Unlock()
		h.network.Heal("A", "C")
		for !recording.has("C", " c0 ") { // until the backlog begins
			time.Sleep(time.Millisecond)
		}
		for i := range 20 {
			began := time.Now()
			reply := c.ask(fmt.Sprintf("IAMAT emu%d +1+1 100", i))
			if took := time.Since(began); took > 5*time.Millisecond {
				t.Errorf("reply %d took %v during the backlog, want at most 5ms", i, took)
			}
			if !recording.has("B", reply) || !recording.has("C", reply) {
				t.Errorf("reply %d left before its record: sent to B %v, to C %v", i, recording.has("B", reply), recording.has("C", reply))
			}
		}
		last := fmt.Sprintf(" c%d ", backlog-1)
		if recording.has("C", last) {
			t.Error("the backlog has ended already: this test shows nothing")
		}
		time.Sleep(2 * time.Second)
		settle()
		h.wantRecord(strings.TrimSpace(last), h.record("A", strings.TrimSpace(last)))
	})
}

// TestBacklogOfUnsendable: a neighbour gets the last record of a backlog, although no frame can be made of the thousands before it.
func TestBacklogOfUnsendable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newTestHerd(t, "A-B")
		recording := &recordingBus{most: 1000, sent: map[string]string{}}
		h.start("A", 1, func(cfg *Config) {
			cfg.Limits.Clients, cfg.Repair = 10_000, 0
			recording.Bus, cfg.Bus = cfg.Bus, recording
		})
		h.start("B", 2, func(cfg *Config) { cfg.Repair = 0 })
		settle()
		h.network.Cut("A", "B")
		time.Sleep(5 * time.Second)
		c := h.dial("A")
		for i := range 3000 {
			c.ask(fmt.Sprintf("IAMAT c%d +1.%s+1 100", i, strings.Repeat("0", 1000)))
		}
		c.ask("IAMAT kiwi +1+1 100")
		h.network.Heal("A", "B")
		a := h.servers["A"].node
		for begun := false; !begun; time.Sleep(time.Millisecond) {
			a.mu.Lock()
			_, backlog := a.replica.Sendable()
			up, down := a.replica.Queued()
			a.mu.Unlock()
			begun = up+down < 3001 && backlog < 3001
		}
		time.Sleep(100 * time.Millisecond) // and no heartbeat later
		if !recording.has("B", " kiwi ") {
			t.Error("the last record was not sent")
		}
	})
}

// TestMaxPayloadShrinks: if a frame has become too large for the broker, its records are
// sent in smaller frames.
func TestMaxPayloadShrinks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newTestHerd(t, "A-B")
		shrinking := &shrinkingBus{}
		h.startWithBus("A", func(b Bus) Bus { shrinking.Bus = b; return shrinking })
		h.start("B", 2, func(cfg *Config) { cfg.Repair = 0 })
		settle()
		shrinking.most.Store(500)
		c := h.dial("A")
		const clients = 100
		var commands strings.Builder
		for i := range clients {
			fmt.Fprintf(&commands, "IAMAT kiwi%d +1+1 100\n", i)
		}
		c.send(commands.String())
		var last string
		for range clients {
			last = c.line()
		}
		settle()
		for i := range clients {
			if h.record("B", fmt.Sprint("kiwi", i)) == "?" {
				t.Errorf("B does not have kiwi%d", i)
			}
		}
		h.wantRecord(fmt.Sprint("kiwi", clients-1), last)
		if n := h.servers["A"].node.Stats().Unsendable; n != 0 {
			t.Errorf("%d records count as too large, want none", n)
		}
	})
}

// shrinkingBus refuses messages larger than most, if that is not 0. MaxData does not show
// it.
type shrinkingBus struct {
	Bus
	most atomic.Int64
}

func (b *shrinkingBus) Send(ms ...bus.Message) error {
	for _, m := range ms {
		if most := b.most.Load(); most > 0 && m.Lane == bus.Records && len(m.Data) > int(most) {
			return bus.ErrTooLarge
		}
	}
	return b.Bus.Send(ms...)
}
