package natsbus

import (
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"herd/bus"
)

// TestMaxPayloadChanges: a broker that takes less from one moment to the next, of which it
// says nothing until it refuses a message and hangs up, ends nothing. What fits arrives, also
// beside what does not, which Send refuses; and when the broker takes more again, so does
// Send.
func TestMaxPayloadChanges(t *testing.T) {
	t.Parallel()
	limits := func(payload int32) *server.Options { return &server.Options{MaxPayload: payload, MaxPending: 64 << 20} }
	s := startServer(t, limits(1<<20))
	p := newPair(t, s.ClientURL())
	reload := func(payload int32) {
		t.Helper()
		o := limits(payload)
		o.Host, o.NoSigs = "127.0.0.1", true
		_, port, _ := strings.Cut(strings.TrimPrefix(s.ClientURL(), "nats://"), ":")
		fmt.Sscan(port, &o.Port)
		if err := s.ReloadOptions(o); err != nil {
			t.Fatal(err)
		}
	}
	const small, large = 100, 200_000
	var mu sync.Mutex
	arrived := map[int]int{} // by size
	p.toB.handle(func(m bus.Message) {
		mu.Lock()
		defer mu.Unlock()
		arrived[len(m.Data)]++
	})
	// sends sends both sizes until both results are as wanted, and what was sent arrives.
	sends := func(payload int32, wantLarge error) {
		t.Helper()
		eventually(t, fmt.Sprintf("Send with max_payload %d", payload), func() bool {
			tooLarge := p.a.Send(bus.Message{Lane: bus.Records, Peer: "B", Epoch: 1, Seq: 1, Data: make([]byte, large)})
			mu.Lock()
			before := arrived[small]
			mu.Unlock()
			fits := p.a.Send(bus.Message{Lane: bus.Records, Peer: "B", Epoch: 1, Seq: 1, Data: make([]byte, small)})
			time.Sleep(10 * time.Millisecond)
			mu.Lock()
			defer mu.Unlock()
			return errors.Is(tooLarge, wantLarge) && fits == nil && arrived[small] > before
		})
	}
	reload(10_000)
	sends(10_000, bus.ErrTooLarge)
	if got := p.a.MaxData(); got != 10_000-maxHeader {
		t.Errorf("MaxData = %d, want %d", got, 10_000-maxHeader)
	}
	mu.Lock()
	before := arrived[large]
	mu.Unlock()
	reload(1 << 20)
	for until := time.Now().Add(payloadRefreshes*refreshEvery + patience); p.a.MaxData() < large; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(until) {
			t.Fatal("the larger limit is not noticed")
		}
	}
	sends(1<<20, nil)
	eventually(t, "a large message", func() bool {
		mu.Lock()
		defer mu.Unlock()
		return arrived[large] > before
	})
	if err := p.a.Problem(); err != nil {
		t.Errorf("Problem = %v", err)
	}
}

// TestEndedAgainAndAgain: a broker that hangs up again and again, and does not say why, is
// a problem that names what to look at. It is logged twice at most, and connections become
// rare.
func TestEndedAgainAndAgain(t *testing.T) {
	t.Parallel()
	broker := startFakeBroker(t, nil)
	var log logText
	cfg := fakeConfig(t, broker)
	cfg.Log = log.logger()
	b := New(cfg)
	h := newReceiver()
	start(t, b, h)
	for !strings.Contains(problem(b), "ends each connection after a moment (EOF)") {
		expect(t, "connected", h.connected, true)
		broker.hangUp()
		expect(t, "disconnected", h.connected, false)
		if broker.connections() > 10 {
			t.Fatalf("Problem = %q after 10 connections", problem(b))
		}
		time.Sleep(10 * time.Millisecond)
	}
	before := broker.connections()
	for began := time.Now(); time.Since(began) < 2*time.Second; time.Sleep(time.Millisecond) {
		broker.hangUp()
	}
	// Two or three, unless this machine is so slow that a connection lasts for a while.
	// Without the pauses there would be hundreds.
	const few = 10
	if got := broker.connections() - before; got > few {
		t.Errorf("%d connections in 2s, want %d at most", got, few)
	}
	if got := log.count("NATS disconnected"); got > few {
		t.Errorf("NATS disconnected was logged %d times, want %d at most:\n%s", got, few, log.text.String())
	}
	eventually(t, "a connection", func() bool { return b.publisher.conn.Load() != nil })
	eventually(t, "no problem after a connection that lasts", func() bool { return problem(b) == "" })
}

// TestBrokerPauses: a broker or a link that carries nothing in one direction for ten seconds,
// and then goes on, ends no server. What was sent and not received is
// told by the connection that was lost meanwhile, or arrives; and then all works as before.
func TestBrokerPauses(t *testing.T) {
	t.Parallel()
	for name, which := range map[string][2]bool{"to the broker": {true, false}, "from the broker": {false, true}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := startServer(t, &server.Options{})
			link := newPausable(t, s.Addr().String())
			a := New(Config{URLs: []string{link.url}, Prefix: "herd", Server: "A", Neighbours: []string{"B"}, Epoch: 1, Log: testLog(t)})
			b := New(Config{URLs: []string{s.ClientURL()}, Prefix: "herd", Server: "B", Neighbours: []string{"A"}, Epoch: 2, Log: testLog(t)})
			p := pair{a: a, b: b, toA: newReceiver(), toB: newReceiver()}
			var mu sync.Mutex
			arrived := map[uint64]bool{}
			p.toB.onReceive = func(m bus.Message) {
				mu.Lock()
				defer mu.Unlock()
				arrived[m.Seq] = true
			}
			start(t, a, p.toA)
			start(t, b, p.toB)
			expect(t, "A", p.toA.connected, true)
			expect(t, "B", p.toB.connected, true)
			var accepted []uint64
			next := uint64(0)
			sendFor := func(d time.Duration) {
				for until := time.Now().Add(d); time.Now().Before(until); time.Sleep(5 * time.Millisecond) {
					next++
					began := time.Now()
					if a.Send(bus.Message{Lane: bus.Records, Peer: "B", Epoch: 1, Seq: next, Data: []byte("x")}) == nil {
						accepted = append(accepted, next)
					}
					if took := time.Since(began); took > writeTimeout+time.Second {
						t.Errorf("Send took %v", took)
					}
				}
			}
			sendFor(100 * time.Millisecond)
			link.pause(which)
			sendFor(10 * time.Second)
			link.pause([2]bool{})
			lost := len(p.toA.connected) > 0
			eventually(t, "a message", func() bool {
				sendFor(50 * time.Millisecond)
				lost = lost || len(p.toA.connected) > 0
				mu.Lock()
				defer mu.Unlock()
				return arrived[next]
			})
			mu.Lock()
			defer mu.Unlock()
			for _, seq := range accepted {
				if !arrived[seq] && !lost {
					t.Errorf("message %d was lost, and nothing says so", seq)
				}
			}
			t.Logf("%d of %d accepted, %d arrived; the connection was lost: %v", len(accepted), next, len(arrived), lost)
		})
	}
}

// pausable is a link to a broker that can be stopped in each direction.
type pausable struct {
	url string

	mu      sync.Mutex
	flow    *sync.Cond
	stopped [2]bool // to the broker, from the broker
}

func newPausable(t *testing.T, target string) *pausable {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &pausable{url: "nats://" + ln.Addr().String()}
	p.flow = sync.NewCond(&p.mu)
	t.Cleanup(func() {
		ln.Close()
		p.pause([2]bool{})
	})
	pump := func(direction int, from, to net.Conn) {
		defer from.Close()
		defer to.Close()
		for b := make([]byte, 64<<10); ; {
			n, err := from.Read(b)
			if err != nil {
				return
			}
			p.mu.Lock()
			for p.stopped[direction] {
				p.flow.Wait()
			}
			p.mu.Unlock()
			if _, err := to.Write(b[:n]); err != nil {
				return
			}
		}
	}
	go relay(ln, target, func(near, far net.Conn) {
		go pump(0, near, far)
		go pump(1, far, near)
	})
	return p
}

func (p *pausable) pause(which [2]bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.stopped = which
	p.flow.Broadcast()
}

// relay accepts connections at ln until that is closed, and joins each to one to target.
func relay(ln net.Listener, target string, join func(near, far net.Conn)) {
	for {
		near, err := ln.Accept()
		if err != nil {
			return
		}
		far, err := net.Dial("tcp", target)
		if err != nil {
			near.Close()
			continue
		}
		join(near, far)
	}
}
