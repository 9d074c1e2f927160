package node

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"herd/bus"
	"herd/node/replica"
)

// slowBus lets a test block messages of records, or refuse them and repair replies.
type slowBus struct {
	Bus
	mu      sync.Mutex
	hold    chan struct{} // if not nil, Send blocks until it is closed
	fail    error         // if not nil, Send returns it
	stalled chan struct{} // the hold for which Send has timed out
	sent    []string      // neighbours to which records were sent
}

func (b *slowBus) set(hold chan struct{}, fail error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.hold, b.fail = hold, fail
}

func (b *slowBus) Send(ms ...bus.Message) error {
	for _, m := range ms {
		if err := b.send(m); err != nil {
			return err
		}
	}
	return nil
}

func (b *slowBus) send(m bus.Message) error {
	b.mu.Lock()
	hold, fail := b.hold, b.fail
	b.mu.Unlock()
	switch {
	case fail != nil && (m.Lane == bus.Records || m.Lane == bus.SyncReply):
		return fail
	case m.Lane != bus.Records:
		return b.Bus.Send(m)
	case hold != nil: // for as long as natsbus.Bus, and only the first time
		b.mu.Lock()
		stalled := b.stalled == hold
		b.mu.Unlock()
		if !stalled && wait(context.Background(), hold, stall) {
			break
		}
		b.mu.Lock()
		b.stalled = hold
		b.mu.Unlock()
		return bus.ErrDisconnected
	}
	b.mu.Lock()
	b.sent = append(b.sent, m.Peer)
	b.mu.Unlock()
	return b.Bus.Send(m)
}

// startSlow starts a server on a slowBus.
func startSlow(h *testHerd, name string) *slowBus {
	slow := &slowBus{}
	h.startWithBus(name, func(b Bus) Bus { slow.Bus = b; return slow })
	return slow
}

// TestReplyAfterFlood: a reply is written after the record was sent to every neighbour.
func TestReplyAfterFlood(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newTestHerd(t, "A-B,A-C")
		slow := startSlow(h, "A")
		h.start("B", 2, nil)
		h.start("C", 3, nil)
		settle()
		slow.set(make(chan struct{}), nil)
		c := h.dial("A")
		c.send("IAMAT kiwi +1+1 100\n")
		replied := make(chan string, 1)
		go func() { replied <- c.line() }()
		time.Sleep(stall / 2)
		synctest.Wait()
		if len(replied) > 0 {
			t.Fatal("the reply left before the record")
		}
		// The reply to an older report waits too: the record that won is not sent yet.
		other := h.dial("A")
		other.send("IAMAT kiwi +1+1 99\n")
		settle()
		otherReplied := make(chan string, 1)
		go func() { otherReplied <- other.line() }()
		synctest.Wait()
		if len(otherReplied) > 0 {
			t.Error("the reply to an older report left before the record that won")
		}
		close(slow.hold)
		<-replied
		<-otherReplied
		slow.mu.Lock()
		defer slow.mu.Unlock()
		if !slices.Equal(slow.sent, []string{"B", "C"}) {
			t.Errorf("when the reply left, the record had been sent to %v, want B and C", slow.sent)
		}
	})
}

// TestReportsOfLostConnection: reports that were read before a connection was lost are
// flooded, also those behind a reply that could not be written.
func TestReportsOfLostConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newTestHerd(t, "A-B").startAll()
		settle()
		c := h.dial("A")
		c.send("IAMAT kiwi +1+1 1\nWHATSAT kiwi 0 0\nIAMAT emu +1+1 1\n")
		synctest.Wait() // the server is writing the first reply
		c.conn.Close()
		settle()
		if a, b := h.record("A", "emu"), h.record("B", "emu"); a == "?" || b != a {
			t.Errorf("A has %q and B has %q, want the report", a, b)
		}
	})
}

// TestSessionsShareFlushes: sessions of a busy server share messages. After all but one
// have ended, that one soon stops waiting for others.
func TestSessionsShareFlushes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const clients, reports = 4, 200
		h := newTestHerd(t, "A-B")
		var messages atomic.Int64
		h.network.Tap(func(subject string, m bus.Message) {
			if subject == "herd.edge.A.B" {
				messages.Add(1)
			}
		})
		h.startAll()
		think := maxBatchDelay / 5
		report := func(name string) (waits []time.Duration) {
			c := h.dial("A")
			for i := range reports {
				began := time.Now()
				c.ask(fmt.Sprintf("IAMAT %s +1+1 %d", name, i))
				waits = append(waits, time.Since(began))
				time.Sleep(think)
			}
			return waits
		}
		var all sync.WaitGroup
		for i := range clients {
			all.Go(func() {
				time.Sleep(time.Duration(i) * think / clients) // they do not begin together
				for _, took := range report(fmt.Sprint("kiwi", i)) {
					if took > maxBatchDelay {
						t.Errorf("a report waited %v for others, want at most %v", took, maxBatchDelay)
					}
				}
			})
		}
		all.Wait()
		if sent, alone := int(messages.Load()), clients*reports; sent > alone/clients*3/2 {
			t.Errorf("%d messages for %d reports of %d clients, want at most %d", sent, alone, clients, alone/clients*3/2)
		}
		waited := 0
		for _, took := range report("emu") {
			if took > 0 {
				waited++
			}
		}
		if waited > 2 {
			t.Errorf("%d of %d reports of the last client waited for others, want at most 2", waited, reports)
		}
	})
}

// delayingBus takes some time to send records.
type delayingBus struct{ Bus }

func (b delayingBus) Send(ms ...bus.Message) error {
	if ms[0].Lane == bus.Records {
		time.Sleep(300 * time.Microsecond)
	}
	return b.Bus.Send(ms...)
}

// TestForwardDuringFlush: a record that arrives from a neighbour during a flush is
// forwarded right after it.
func TestForwardDuringFlush(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newTestHerd(t, "A-B,B-C")
		h.start("A", 1, nil)
		h.startWithBus("B", func(b Bus) Bus { return delayingBus{b} })
		h.start("C", 3, nil)
		settle()
		b := h.servers["B"].node
		c := h.dial("B")
		for i := range 100 { // enough to make it a busy server
			c.send(fmt.Sprintf("IAMAT mine%d +1+1 1\n", i))
			time.Sleep(100 * time.Microsecond) // in the middle of the flush
			b.Receive(bus.Message{Lane: bus.Records, Peer: "A", Data: fmt.Appendf(nil, "AT A +0.000000000 theirs%d +1+1 1\n", i)})
			b.BatchEnd()
			c.line()
			time.Sleep(time.Millisecond)
			if h.record("C", fmt.Sprintf("theirs%d", i)) == "?" {
				t.Fatalf("record %d was not forwarded", i)
			}
		}
	})
}

// TestStalledBus: if the bus takes nothing, one reply waits for stall, and later ones do
// not wait. When the bus moves again, nothing is lost, and replies wait again.
func TestStalledBus(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newTestHerd(t, "A-B")
		slow := startSlow(h, "A")
		h.start("B", 2, nil)
		settle()
		hold := make(chan struct{})
		slow.set(hold, nil)
		c := h.dial("A")
		began := time.Now()
		c.ask("IAMAT kiwi +1+1 100")
		if waited := time.Since(began); waited != stall {
			t.Errorf("the first reply took %v, want %v", waited, stall)
		}
		began = time.Now()
		var want string
		for i := range 100 {
			want = c.ask(fmt.Sprintf("IAMAT kiwi +1+1 %d", 101+i))
		}
		if waited := time.Since(began); waited != 0 {
			t.Errorf("later replies took %v, want none to wait", waited)
		}
		slow.set(nil, nil)
		close(hold)
		time.Sleep(replica.HeartbeatEvery) // then the flush is retried
		settle()
		h.wantRecord("kiwi", want)

		again := make(chan struct{})
		slow.set(again, nil)
		began = time.Now()
		c.ask("IAMAT kiwi +1+1 1000")
		if waited := time.Since(began); waited != stall {
			t.Errorf("a reply after the bus moved took %v, want %v", waited, stall)
		}
		close(again)
	})
}
