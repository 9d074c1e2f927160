package node

import (
	"context"
	"errors"
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

// settle lets all that is under way arrive.
func settle() {
	time.Sleep(time.Millisecond)
	synctest.Wait()
}

// crossings counts how often each record crossed each directed edge.
type crossings struct {
	mu    sync.Mutex
	count map[string]int // "subject line"
	beats map[string]int // by subject
}

func tapCrossings(h *testHerd) *crossings {
	c := &crossings{count: map[string]int{}, beats: map[string]int{}}
	h.network.Tap(func(subject string, m bus.Message) {
		c.mu.Lock()
		defer c.mu.Unlock()
		switch m.Lane {
		case bus.Records:
			for line := range strings.Lines(string(m.Data)) {
				c.count[subject+" "+strings.TrimSuffix(line, "\n")]++
			}
		case bus.Heartbeat:
			c.beats[subject]++
		}
	})
	return c
}

// check reports what crossed twice, or where no edge is.
func (c *crossings) check(h *testHerd) {
	h.t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	for crossing, times := range c.count {
		subject, line, _ := strings.Cut(crossing, " ")
		f := strings.Split(subject, ".")
		if !h.graph.Adjacent(f[2], f[3]) {
			h.t.Errorf("%q crossed from %s to %s, which no edge joins", line, f[2], f[3])
		}
		if times > 1 {
			h.t.Errorf("%q crossed %s %d times", line, subject, times)
		}
	}
}

// TestFlood: a report to any server of either herd is known at all, answered the
// same, and crosses each directed edge at most once.
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
						t.Fatalf("%s answered %q", name, reply)
					}
					settle()
					h.agree("kiwi", reply)
				}
				if want := len(h.graph.Edges()) > 0; (len(crossed.count) > 0) != want {
					t.Errorf("%d crossings seen", len(crossed.count))
				}
				crossed.check(h)
			})
		})
	}
}

// crossed is how often anything crossed, whichever edge.
func (c *crossings) crossed() (times int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, n := range c.count {
		times += n
	}
	return times
}

// TestTriangles: where a neighbour is told by whoever told us, we do not tell it at
// once, and of two such neighbours one tells the other in the end.
func TestTriangles(t *testing.T) {
	for origin, atOnce := range map[string]int{
		"Goloman": 4, // to Hands, Holiday and Wilkes, and on to Welsh
		"Welsh":   5, // to Holiday, on to Goloman and Wilkes, and from both to Hands
	} {
		synctest.Test(t, func(t *testing.T) {
			h := newTestHerd(t, "goloman").startAll()
			crossed := tapCrossings(h)
			reply := h.dial(origin).ask(fmt.Sprintf("IAMAT kiwi +1+1 %d", time.Now().Unix()))
			settle()
			h.agree("kiwi", reply)
			if n := crossed.crossed(); n != atOnce {
				t.Errorf("a report to %s crossed %d edges at once, want %d", origin, n, atOnce)
			}
			time.Sleep(time.Minute)
			if n, edges := crossed.crossed(), len(h.graph.Edges()); n != edges {
				t.Errorf("a report to %s crossed edges %d times in all, want each of %d once", origin, n, edges)
			}
			for name, s := range h.servers {
				s.node.mu.Lock()
				if s.node.forwardTimer {
					t.Errorf("%s has a timer for nothing", name)
				}
				s.node.mu.Unlock()
			}
			crossed.check(h)
		})
	}
}

// TestTriangleWithADeadSide: what is presumed of a neighbour and not so is made good
// for soon, and at once where somebody relies on it: when whoever presumed it stops, or
// answers a report that lost against it.
func TestTriangleWithADeadSide(t *testing.T) {
	const most = 10 * replica.ForwardTick
	for name, then := range map[string]func(*testing.T, *testHerd){
		"time passes": func(_ *testing.T, h *testHerd) {
			c := h.dial("Goloman")
			for i := range int(10 * most / replica.ForwardTick) { // meanwhile others are presumed too
				time.Sleep(replica.ForwardTick / 10)
				c.ask(fmt.Sprintf("IAMAT emu%d +1+1 %d", i, time.Now().Unix()))
			}
		},
		"stop": func(t *testing.T, h *testHerd) {
			h.servers["Xena"].node.sendHeartbeat(0, wire.Heartbeat{}) // so that Hands has word of all that it has sent
			synctest.Wait()
			if err := h.servers["Hands"].stop(); err != nil {
				t.Error(err)
			}
		},
		"older report": func(_ *testing.T, h *testHerd) {
			h.dial("Hands").ask("IAMAT kiwi +2+2 1")
		},
	} {
		for _, spec := range []string{ // the one who presumes is the impatient one, or the other
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
					if got := h.where(third, "kiwi"); got != "?" {
						t.Fatalf("%s has %q, with the link to it cut", third, got)
					}
					then(t, h)
					settle()
					if got := h.where(third, "kiwi"); got != reply {
						t.Errorf("after %v %s has %q, want %q", time.Since(began), third, got, reply)
					}
					if took := time.Since(began); took > most+time.Second/10 {
						t.Errorf("that took %v", took)
					}
				})
			})
		}
	}
}

// TestBusAway: while NATS is disconnected clients are answered at once, and what they
// reported is known everywhere soon after it is back.
func TestBusAway(t *testing.T) {
	for _, away := range []time.Duration{time.Second, 20 * time.Second} {
		t.Run(away.String(), func(t *testing.T) {
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
					t.Errorf("replies took %v while the bus was away", waited)
				}
				time.Sleep(away)
				if got := h.where("Goloman", "kiwi"); got != "?" {
					t.Fatalf("Goloman has %q, while the bus is disconnected", got)
				}
				h.network.Start()
				settle()
				h.agree("kiwi", want)
				crossed.check(h)
			})
		})
	}
}

// slowBus lets a test hold up records on edges, or refuse them, in answers too.
type slowBus struct {
	Bus
	mu      sync.Mutex
	hold    chan struct{} // where not nil, Send waits until it is closed
	fail    error         // where not nil, Send returns it
	stalled chan struct{} // the hold that was waited for in vain
	sent    []string
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
	case hold != nil: // no longer than natsbus.Bus does, and only the first time
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

func startSlow(h *testHerd, name string) *slowBus {
	slow := &slowBus{}
	h.startOver(name, func(b Bus) Bus { slow.Bus = b; return slow })
	return slow
}

// TestReplyAfterFlood: the reply leaves after the record has been written to the
// bus for every neighbour.
func TestReplyAfterFlood(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newTestHerd(t, "A-B,A-C")
		slow := startSlow(h, "A")
		h.start("B", 2, nil)
		h.start("C", 3, nil)
		settle()
		slow.mu.Lock()
		slow.hold = make(chan struct{})
		slow.mu.Unlock()
		c := h.dial("A")
		c.send("IAMAT kiwi +1+1 100\n")
		replied := make(chan string, 1)
		go func() { replied <- c.line() }()
		time.Sleep(stall / 2)
		synctest.Wait()
		if len(replied) > 0 {
			t.Fatal("the reply left before the record")
		}
		// A report that is no news waits as well: what won is not out yet.
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
			t.Errorf("when the reply left the record had been written for %v, want B and C", slow.sent)
		}
	})
}

// TestReportOfVanishedClient: what a client had reported when its connection broke is
// flooded, also behind replies that nobody took.
func TestReportOfVanishedClient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newTestHerd(t, "A-B").startAll()
		settle()
		c := h.dial("A")
		c.send("IAMAT kiwi +1+1 1\nWHATSAT kiwi 0 0\nIAMAT emu +1+1 1\n")
		synctest.Wait() // for the first reply to be taken
		c.conn.Close()
		settle()
		if at, there := h.where("A", "emu"), h.where("B", "emu"); at == "?" || there != at {
			t.Errorf("A has %q, B %q", at, there)
		}
	})
}

// TestSessionsShareFlushes: clients that report one after the other to a busy server share its
// messages, and one that is left alone waits for the others no more than a moment.
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
		talk := func(name string) (waits []time.Duration) {
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
				time.Sleep(time.Duration(i) * think / clients) // they begin apart
				for _, took := range talk(fmt.Sprint("kiwi", i)) {
					if took > maxBatchDelay {
						t.Errorf("a report waited %v for company", took)
					}
				}
			})
		}
		all.Wait()
		if sent, alone := int(messages.Load()), clients*reports; sent > alone/clients*3/2 {
			t.Errorf("%d messages for %d reports of %d clients at a time", sent, alone, clients)
		}
		kept := 0
		for _, took := range talk("emu") {
			if took > 0 {
				kept++
			}
		}
		if kept > 2 {
			t.Errorf("%d of %d reports of a client that is alone waited for company", kept, reports)
		}
	})
}

// slowerBus takes a while over messages of records.
type slowerBus struct{ Bus }

func (b slowerBus) Send(ms ...bus.Message) error {
	if ms[0].Lane == bus.Records {
		time.Sleep(300 * time.Microsecond)
	}
	return b.Bus.Send(ms...)
}

// TestPassOn: what a neighbour brings while the records of others are being written is
// passed on right behind them.
func TestPassOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newTestHerd(t, "A-B,B-C")
		h.start("A", 1, nil)
		h.startOver("B", func(b Bus) Bus { return slowerBus{b} })
		h.start("C", 3, nil)
		settle()
		b := h.servers["B"].node
		c := h.dial("B")
		for i := range 100 { // so that it is a busy server
			c.send(fmt.Sprintf("IAMAT mine%d +1+1 1\n", i))
			time.Sleep(100 * time.Microsecond) // in the midst of the write
			b.Receive(bus.Message{Lane: bus.Records, Peer: "A", Data: fmt.Appendf(nil, "AT A +0.000000000 theirs%d +1+1 1\n", i)})
			b.BatchEnd()
			c.line()
			time.Sleep(time.Millisecond)
			if h.where("C", fmt.Sprintf("theirs%d", i)) == "?" {
				t.Fatalf("record %d waits", i)
			}
		}
	})
}

// TestStalledBus: a bus that takes nothing costs clients one short wait, and
// nothing is lost when it moves again.
func TestStalledBus(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newTestHerd(t, "A-B")
		slow := startSlow(h, "A")
		h.start("B", 2, nil)
		settle()
		hold := make(chan struct{})
		slow.mu.Lock()
		slow.hold = hold
		slow.mu.Unlock()
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
		slow.mu.Lock()
		slow.hold = nil
		slow.mu.Unlock()
		close(hold)
		time.Sleep(replica.HeartbeatEvery) // until the pulse tries again
		settle()
		h.agree("kiwi", want)

		again := make(chan struct{}) // having moved, it is waited for again
		slow.mu.Lock()
		slow.hold = again
		slow.mu.Unlock()
		began = time.Now()
		c.ask("IAMAT kiwi +1+1 1000")
		if waited := time.Since(began); waited != stall {
			t.Errorf("a reply after the bus moved took %v, want %v", waited, stall)
		}
		close(again)
	})
}

// TestTooLarge: a message that the bus will never take does not hold up the edge.
func TestTooLarge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newTestHerd(t, "A-B")
		slow := startSlow(h, "A")
		h.start("B", 2, nil)
		settle()
		c := h.dial("A")
		slow.mu.Lock()
		slow.fail = fmt.Errorf("no: %w", bus.ErrTooLarge)
		slow.mu.Unlock()
		c.ask("IAMAT kiwi +1+1 100")
		slow.mu.Lock()
		slow.fail = nil
		slow.mu.Unlock()
		want := c.ask("IAMAT emu +1+1 100")
		settle()
		h.agree("emu", want)
		if got := h.where("B", "kiwi"); got != "?" {
			t.Errorf("B has %q, though the bus refused it", got)
		}
		if err := h.servers["A"].stop(); err == nil || !strings.Contains(err.Error(), "1 records were too large for the bus") {
			t.Errorf("Run = %v, want the count of what was not handed over", err)
		}
	})
}

// TestSendFails: what the bus did not take is sent again.
func TestSendFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newTestHerd(t, "A-B")
		slow := startSlow(h, "A")
		h.start("B", 2, nil)
		settle()
		slow.mu.Lock()
		slow.fail = errors.Join(bus.ErrDisconnected)
		slow.mu.Unlock()
		want := h.dial("A").ask("IAMAT kiwi +1+1 100")
		slow.mu.Lock()
		slow.fail = nil
		slow.mu.Unlock()
		time.Sleep(1100 * time.Millisecond) // the pulse tries again
		settle()
		h.agree("kiwi", want)
	})
}

// recordingBus records the frames that are sent, takes a while over each call, and takes
// small messages only.
type recordingBus struct {
	Bus
	took time.Duration
	most int

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

// TestBacklogDelaysNobody: while a neighbour catches up after an outage, news is sent to
// it and to the others at once, ahead of its backlog, and replies wait for that as ever.
func TestBacklogDelaysNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newTestHerd(t, "A-B,A-C")
		recording := &recordingBus{took: time.Millisecond, most: 1000, sent: map[string]string{}}
		h.start("A", 1, func(cfg *Config) {
			cfg.Limits.Clients = 10_000
			recording.Bus, cfg.Bus = cfg.Bus, recording
		})
		h.start("B", 2, nil)
		h.start("C", 3, func(cfg *Config) { cfg.Repair = 0 }) // everything is to come by the flood
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
			t.Errorf("%d records are to be sent, with one neighbour told everything and the other down", live)
		}
		a.mu.Unlock()
		h.network.Heal("A", "C")
		for recording.has("C", " c0 ") == false { // until it catches up
			time.Sleep(time.Millisecond)
		}
		for i := range 20 {
			began := time.Now()
			reply := c.ask(fmt.Sprintf("IAMAT emu%d +1+1 100", i))
			if took := time.Since(began); took > 5*time.Millisecond {
				t.Errorf("reply %d took %v while a neighbour catches up", i, took)
			}
			if !recording.has("B", reply) || !recording.has("C", reply) {
				t.Errorf("reply %d left before its record: sent to B %v, to C %v", i, recording.has("B", reply), recording.has("C", reply))
			}
		}
		last := fmt.Sprintf(" c%d ", backlog-1)
		if recording.has("C", last) {
			t.Error("the backlog was sent first: this test shows nothing")
		}
		time.Sleep(2 * time.Second)
		settle()
		h.agree(strings.TrimSpace(last), h.where("A", strings.TrimSpace(last)))
	})
}

// TestMaxPayloadShrinks: a frame that has become too large for the broker is sent in
// smaller ones. Only a record that is too large by itself is dropped.
func TestMaxPayloadShrinks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newTestHerd(t, "A-B")
		shrinking := &shrinkingBus{}
		h.startOver("A", func(b Bus) Bus { shrinking.Bus = b; return shrinking })
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
			if h.where("B", fmt.Sprint("kiwi", i)) == "?" {
				t.Errorf("B does not have kiwi%d", i)
			}
		}
		h.agree(fmt.Sprint("kiwi", clients-1), last)
		if n := h.servers["A"].node.Stats().Unsendable; n != 0 {
			t.Errorf("%d records count as too large", n)
		}
	})
}

// shrinkingBus refuses larger messages than most, if that is set, and did not say so
// before.
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
