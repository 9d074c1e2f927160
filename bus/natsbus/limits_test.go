package natsbus

import (
	"errors"
	"fmt"
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
	time.Sleep(payloadRefreshes * refreshEvery) // in which that is found
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
	if got := broker.connections() - before; got > 3 {
		t.Errorf("%d connections in 2s, want 3 at most", got)
	}
	if got := log.count("NATS disconnected"); got > 2 {
		t.Errorf("NATS disconnected was logged %d times, want twice at most:\n%s", got, log.text.String())
	}
	eventually(t, "a connection", func() bool { return b.publisher.conn.Load() != nil })
	time.Sleep(shortLived + pollEvery)
	if got := problem(b); got != "" {
		t.Errorf("Problem = %q after a connection that lasts", got)
	}
}
