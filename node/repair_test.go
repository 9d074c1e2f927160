package node

import (
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"herd/bus"
	"herd/node/replica"
	"herd/node/wire"
)

// TestLostMessages: a lost message is noticed by the next heartbeat, also if it was the
// last message on the edge. Repair brings its records.
func TestLostMessages(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newTestHerd(t, "A-B,B-C").startAll()
		settle()
		h.network.Cut("A", "B") // for too short to go down
		lost := h.dial("A").ask("IAMAT kiwi +1+1 100")
		settle()
		h.network.Heal("A", "B")
		if got := h.record("B", "kiwi"); got != "?" {
			t.Fatalf("B has %q across the cut", got)
		}
		time.Sleep(1500 * time.Millisecond) // until the next heartbeat announces it
		settle()
		h.wantRecord("kiwi", lost)
	})
}

// TestLossReportedByBus: when the bus reports that it lost messages, one comparison
// follows.
func TestLossReportedByBus(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newTestHerd(t, "A-B").startAll()
		requests := make(chan bool, 100)
		h.network.Tap(func(subject string, m bus.Message) {
			if subject == "herd.sync.A.B" {
				requests <- true
			}
		})
		h.servers["A"].node.AsyncError("B", fmt.Errorf("subscription: %w", bus.ErrSlow))
		time.Sleep(1500 * time.Millisecond)
		if len(requests) != 1 {
			t.Errorf("%d requests after messages were lost, want 1", len(requests))
		}
	})
}

// TestRestartWithEmptyMap: a server that restarts with an empty map gets the whole map
// before it is ready. A WHATSAT waits for that.
func TestRestartWithEmptyMap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newTestHerd(t, "goloman").startAll()
		settle()
		var last string
		c := h.dial("Goloman")
		for i := range 500 {
			last = c.ask(fmt.Sprintf("IAMAT c%d +1+1 100", i))
		}
		settle()
		if err := h.servers["Welsh"].stop(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Second)
		h.network.SetDelay(10 * time.Millisecond)
		began := time.Now()
		h.start("Welsh", 99, nil)
		if got := h.record("Welsh", "c499"); got != last {
			t.Errorf("Welsh has %q, want %q", got, last)
		}
		if took := time.Since(began); took > time.Second {
			t.Errorf("the reply took %v, want at most a second", took)
		}
		for i := range 500 {
			if h.record("Welsh", fmt.Sprint("c", i)) == "?" {
				t.Errorf("Welsh was ready and did not have c%d", i)
			}
		}
	})
}

// TestRepairOff: with repair off a server sends no repair messages, restores nothing, and
// is ready at once.
func TestRepairOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		off := func(cfg *Config) { cfg.Repair = 0 }
		h := newTestHerd(t, "A-B")
		h.network.Tap(func(subject string, m bus.Message) {
			if m.Lane == bus.SyncRequest || m.Lane == bus.SyncReply {
				t.Errorf("a repair message on %s", subject)
			}
		})
		h.start("A", 1, off)
		if err := h.servers["A"].node.Ready(); err != nil {
			synctest.Wait()
			if err := h.servers["A"].node.Ready(); err != nil {
				t.Errorf("Ready at the start = %v, want nil", err)
			}
		}
		h.dial("A").ask("IAMAT kiwi +1+1 100")
		settle()
		h.start("B", 2, off)
		time.Sleep(time.Minute)
		if err := h.servers["B"].stop(); err != nil {
			t.Fatal(err)
		}
		h.start("B", 3, off)
		time.Sleep(time.Minute)
		if got := h.record("B", "kiwi"); got != "?" {
			t.Errorf("B has %q, although nobody sent it in its epoch", got)
		}
	})
}

// TestRepairEvent: an event tells what a comparison brought.
func TestRepairEvent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newTestHerd(t, "A-B")
		events := make(chan string, 100)
		h.network.Tap(func(subject string, m bus.Message) {
			if subject == "herd.event.B.repair.A" {
				events <- string(m.Data)
			}
		})
		h.startAll()
		for i := range 3 {
			h.dial("A").ask(fmt.Sprintf("IAMAT c%d +1+1 100", i))
		}
		settle()
		if err := h.servers["B"].stop(); err != nil {
			t.Fatal(err)
		}
		h.start("B", 9, nil).node.AwaitReady(t.Context())
		if text := <-events; !strings.Contains(text, "compared with A because it came up: received 3 lines, 3 of them news") {
			t.Errorf("the event is %q", text)
		}
	})
}

// countingBus counts the messages of one lane that are sent.
type countingBus struct {
	Bus
	lane  bus.Lane
	count atomic.Int64
}

func (b *countingBus) Send(ms ...bus.Message) error {
	for _, m := range ms {
		if m.Lane == b.lane {
			b.count.Add(1)
		}
	}
	return b.Bus.Send(ms...)
}

// TestAskBack: a request that shows that the neighbour has more is followed by a request
// of ours at once.
func TestAskBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newTestHerd(t, "A-B")
		counting := &countingBus{lane: bus.SyncRequest}
		a := h.start("A", 1, func(cfg *Config) { counting.Bus = cfg.Bus; cfg.Bus = counting }).node
		time.Sleep(10 * time.Millisecond)
		b := replica.New(replica.Config{Name: "B", Topology: replica.Topology{Neighbours: []string{"A"}, Hash: h.graph.Hash()}, Epoch: 2, Repair: time.Minute})
		now := time.Now()
		a.Receive(bus.Message{Lane: bus.Heartbeat, Peer: "B", Data: b.Heartbeat(0, now).Append(nil)}) // equal digests: in step
		b.HandleHeartbeat(0, wire.Heartbeat{Epoch: 1, Format: wire.Format, Topology: h.graph.Hash()}, now)
		b.IAmAt(nil, wire.ParseCommand([]byte("IAMAT kiwi +1+1 1")), now)
		b.HandleHeartbeat(0, wire.Heartbeat{Epoch: 1, Format: wire.Format, Topology: h.graph.Hash(), Digest: 1}, now)
		b.HandleHeartbeat(0, wire.Heartbeat{Epoch: 1, Format: wire.Format, Topology: h.graph.Hash(), Digest: 1}, now)
		_, request, ok := b.NextRequest(now)
		if !ok {
			t.Fatal("no request")
		}
		before := counting.count.Load()
		a.Receive(bus.Message{Lane: bus.SyncRequest, Peer: "B", Data: request})
		synctest.Wait()
		if n := counting.count.Load(); n != before+1 {
			time.Sleep(time.Second)
			t.Errorf("%d requests at once, want 1; after one second %d", n-before, counting.count.Load()-before)
		}
	})
}
