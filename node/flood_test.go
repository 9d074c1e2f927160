package node

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"herd/bus"
	"herd/node/replica"
	"herd/node/wire"
)

// crossings counts how often each record crossed each edge, in each direction.
type crossings struct {
	mu    sync.Mutex
	count map[string]int // by subject, space and line
}

func tapCrossings(h *testHerd) *crossings {
	c := &crossings{count: map[string]int{}}
	h.network.Tap(func(subject string, m bus.Message) {
		if m.Lane != bus.Records {
			return
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		for line := range strings.Lines(string(m.Data)) {
			c.count[subject+" "+strings.TrimSuffix(line, "\n")]++
		}
	})
	return c
}

// check checks that no record crossed an edge twice in one direction, or between servers
// that are not neighbours.
func (c *crossings) check(h *testHerd) {
	h.t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	for crossing, times := range c.count {
		subject, line, _ := strings.Cut(crossing, " ")
		f := strings.Split(subject, ".")
		if !h.graph.Adjacent(f[2], f[3]) {
			h.t.Errorf("%q was sent from %s to %s, which are not neighbours", line, f[2], f[3])
		}
		if times > 1 {
			h.t.Errorf("%q was sent %d times on %s", line, times, subject)
		}
	}
}

// TestFlood: a report to any server reaches all servers, and crosses each edge at most
// once in each direction.
func TestFlood(t *testing.T) {
	for _, spec := range []string{"goloman", "riley", "A-B", "Solo"} {
		t.Run(spec, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := newTestHerd(t, spec)
				crossed := tapCrossings(h)
				h.startAll()
				settle()
				for i, name := range h.graph.Servers() {
					c := h.dial(name)
					reply := c.ask(fmt.Sprintf("IAMAT kiwi +34.068930-118.445127 %d", time.Now().Unix()+int64(i)))
					if !strings.HasPrefix(reply, "AT "+name+" ") {
						t.Fatalf("the reply of %s is %q", name, reply)
					}
					settle()
					h.wantRecord("kiwi", reply)
				}
				if want := len(h.graph.Edges()) > 0; (len(crossed.count) > 0) != want {
					t.Errorf("%d crossings, want some: %v", len(crossed.count), want)
				}
				crossed.check(h)
			})
		})
	}
}

// total is the number of crossings.
func (c *crossings) total() (times int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, n := range c.count {
		times += n
	}
	return times
}

// TestDelayedForwarding: a record is not forwarded at once to a neighbour that should get
// it from its sender too. In the end it crosses each edge once.
func TestDelayedForwarding(t *testing.T) {
	for origin, atOnce := range map[string]int{
		"Goloman": 4, // to Hands, Holiday and Wilkes, and from one of them to Welsh
		"Welsh":   5, // to Holiday, from there to Goloman and Wilkes, and from both to Hands
	} {
		synctest.Test(t, func(t *testing.T) {
			h := newTestHerd(t, "goloman").startAll()
			crossed := tapCrossings(h)
			reply := h.dial(origin).ask(fmt.Sprintf("IAMAT kiwi +1+1 %d", time.Now().Unix()))
			settle()
			h.wantRecord("kiwi", reply)
			if n := crossed.total(); n != atOnce {
				t.Errorf("a report to %s crossed %d edges at once, want %d", origin, n, atOnce)
			}
			time.Sleep(time.Minute)
			if n, edges := crossed.total(), len(h.graph.Edges()); n != edges {
				t.Errorf("a report to %s crossed edges %d times in total, want each of %d edges once", origin, n, edges)
			}
			for name, s := range h.servers {
				s.node.mu.Lock()
				if s.node.forwardTimer {
					t.Errorf("the forward timer of %s runs, but nothing is delayed", name)
				}
				s.node.mu.Unlock()
			}
			crossed.check(h)
		})
	}
}

// TestDelayedForwardingWithCutEdge: if the sender cannot reach the third server of a
// triangle, the delayed record is forwarded after the delay. It is forwarded at once if
// the server that delays it stops, or replies to an older report of the client.
func TestDelayedForwardingWithCutEdge(t *testing.T) {
	const most = 10 * replica.ForwardTick
	for name, then := range map[string]func(*testing.T, *testHerd){
		"time passes": func(_ *testing.T, h *testHerd) {
			c := h.dial("Goloman")
			for i := range int(10 * most / replica.ForwardTick) { // other records are delayed meanwhile
				time.Sleep(replica.ForwardTick / 10)
				c.ask(fmt.Sprintf("IAMAT emu%d +1+1 %d", i, time.Now().Unix()))
			}
		},
		"stop": func(t *testing.T, h *testHerd) {
			h.servers["Xena"].node.sendHeartbeat(0, wire.Heartbeat{}) // announces everything that Xena has sent
			synctest.Wait()
			if err := h.servers["Hands"].stop(); err != nil {
				t.Error(err)
			}
		},
		"older report": func(_ *testing.T, h *testHerd) {
			h.dial("Hands").ask("IAMAT kiwi +2+2 1")
		},
	} {
		for _, spec := range []string{ // the server that delays has the short delay, or the long one
			"Goloman-Hands,Hands-Wilkes,Wilkes-Goloman,Hands-Xena",
			"Goloman-Hands,Hands-Aardvark,Aardvark-Goloman,Hands-Xena",
		} {
			t.Run(name+"/"+spec, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					h := newTestHerd(t, spec).startAll()
					third := h.graph.Servers()[2]
					h.network.Cut("Goloman", third)
					began := time.Now()
					reply := h.dial("Goloman").ask(fmt.Sprintf("IAMAT kiwi +1+1 %d", began.Unix()))
					settle()
					if got := h.record(third, "kiwi"); got != "?" {
						t.Fatalf("%s has %q across the cut", third, got)
					}
					then(t, h)
					settle()
					if got := h.record(third, "kiwi"); got != reply {
						t.Errorf("after %v %s has %q, want %q", time.Since(began), third, got, reply)
					}
					if took := time.Since(began); took > most+time.Second/10 {
						t.Errorf("forwarding took %v, want at most %v", took, most+time.Second/10)
					}
				})
			})
		}
	}
}

// TestReportsWhileDisconnected: while NATS is disconnected, replies do not wait. The
// reports reach all servers after it is connected again.
func TestReportsWhileDisconnected(t *testing.T) {
	for _, outage := range []time.Duration{time.Second, 20 * time.Second} {
		t.Run(outage.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := newTestHerd(t, "goloman")
				crossed := tapCrossings(h)
				h.startAll()
				settle()
				h.network.Stop()
				settle()
				c := h.dial("Welsh")
				began := time.Now()
				var want string
				for i := range 3 {
					want = c.ask(fmt.Sprintf("IAMAT kiwi +1+1 %d", 100+i))
				}
				if waited := time.Since(began); waited > 0 {
					t.Errorf("replies took %v while NATS was disconnected, want none to wait", waited)
				}
				time.Sleep(outage)
				if got := h.record("Goloman", "kiwi"); got != "?" {
					t.Fatalf("Goloman has %q while NATS is disconnected", got)
				}
				h.network.Start()
				settle()
				h.wantRecord("kiwi", want)
				crossed.check(h)
			})
		})
	}
}

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
