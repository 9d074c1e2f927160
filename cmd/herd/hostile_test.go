package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"herd/bus"
	"herd/bus/topology"
	"herd/node/status"
	"herd/node/wire"
)

// hostile is a server with a valid key that is not ours: it sends heartbeats like a server,
// and whatever else a test makes it send.
type hostile struct {
	t     *testing.T
	nc    *nats.Conn
	name  string
	graph *topology.Graph
	epoch uint64
}

func startHostile(t *testing.T, url, dir, spec, name string) *hostile {
	t.Helper()
	g, err := topology.Load(spec)
	if err != nil {
		t.Fatal(err)
	}
	h := &hostile{t: t, nc: connectAs(t, url, dir, name), name: name, graph: g, epoch: uint64(time.Now().UnixNano())}
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for tick := time.NewTicker(time.Second / 2); ; {
			for _, peer := range g.Neighbours(name) {
				h.heartbeat(peer, func(*wire.Heartbeat) {})
			}
			select {
			case <-tick.C:
			case <-stop:
				tick.Stop()
				return
			}
		}
	}()
	t.Cleanup(func() { close(stop); <-stopped })
	return h
}

func (h *hostile) publish(lane bus.Lane, to string, data []byte) {
	if err := h.nc.Publish(bus.Prefix("herd").Between(lane, h.name, to), data); err != nil && !h.nc.IsClosed() {
		h.t.Error(err)
	}
}

func (h *hostile) heartbeat(to string, change func(*wire.Heartbeat)) {
	b := wire.Heartbeat{Epoch: h.epoch, Clock: wire.InstantOf(time.Now()), Format: wire.Format, Topology: h.graph.Hash(), Ready: true, Digest: 1, Records: 1}
	change(&b)
	h.publish(bus.Heartbeat, to, b.Append(nil))
}

func (h *hostile) frame(to string, seq uint64, data string) {
	m := nats.NewMsg(bus.Prefix("herd").Between(bus.Records, h.name, to))
	m.Header.Set(bus.EpochHeader, fmt.Sprint(h.epoch))
	m.Header.Set(bus.SeqHeader, fmt.Sprint(seq))
	m.Data = []byte(data)
	if err := h.nc.PublishMsg(m); err != nil {
		h.t.Error(err)
	}
}

// attacks are what a hostile server does to each of its neighbours.
var attacks = map[string]func(h *hostile, to string){
	"oversize frames": func(h *hostile, to string) {
		for i := range 20 {
			h.frame(to, uint64(i+1), strings.Repeat(fmt.Sprintf("AT %s +0.000000000 oversize%d +1+1 100\n", h.name, i), 10_000))
		}
	},
	"malformed frames": func(h *hostile, to string) {
		for i := range 200 {
			h.frame(to, uint64(i+1), "AT "+h.name+" \xff\x00\nIAMAT x\n")
		}
	},
	"jumps of numbers": func(h *hostile, to string) {
		for i := range uint64(20) {
			h.frame(to, math.MaxUint64-i, "AT "+h.name+" +0.000000000 jump +1+1 100\n")
		}
	},
	"requests without end": func(h *hostile, to string) {
		var digests [wire.Groups]uint64
		request := wire.Sync{Kind: wire.RequestGroups, Last: true, Body: wire.AppendDigests(nil, &digests)}.Append(nil)
		for range 20_000 {
			h.publish(bus.SyncRequest, to, request)
		}
	},
	"wrong counts": func(h *hostile, to string) {
		for i := range 20 {
			h.publish(bus.SyncRequest, to, wire.Sync{Kind: wire.RequestGroups, ID: uint64(i), Last: true, Body: make([]byte, 77)}.Append(nil))
			h.publish(bus.SyncReply, to, wire.Sync{Kind: wire.ReplyLines, ID: uint64(i), Last: true, Done: 1 << 31, Body: []byte("AT x\n")}.Append(nil))
		}
	},
	"forged heartbeats": func(h *hostile, to string) {
		for i := range 2000 {
			h.heartbeat(to, func(b *wire.Heartbeat) {
				b.Epoch += uint64(i)
				b.Seq = uint64(i) << 40
				b.Bye, b.NoEdge, b.Full = i%5 == 0, i%7 == 0, i%3 == 0
				b.Clock = b.Clock.Add(wire.Instant{Sec: 3600 * int64(i)})
				b.Clocks = wire.Clocks{Agree: 9, Known: 9}
			})
		}
	},
	"receipts that are days ahead": func(h *hostile, to string) {
		for i := range 20 {
			ahead := time.Now().Add(100 * 24 * time.Hour).Unix()
			h.frame(to, uint64(i+1), fmt.Sprintf("AT %s +0.000000000 ahead%d +1+1 %d\n", h.name, i, ahead))
			time.Sleep(time.Second / 2)
		}
	},
	"the same records again and again": func(h *hostile, to string) {
		frame := strings.Repeat(fmt.Sprintf("AT %s +0.000000000 again +1+1 100\n", h.name), 800)
		for i := range 400 {
			h.frame(to, uint64(i+1), frame)
		}
	},
}

// TestHostileNeighbour: a server that breaks the protocol, with a valid key, is put into
// quarantine by its neighbours. Meanwhile the others stay ready and in step with each other,
// and their clients are served. When a good server takes its place, nothing is missing.
func TestHostileNeighbour(t *testing.T) {
	const spec, bad = "A-B,A-C,B-C,B-D", "C"
	for name, attack := range attacks {
		if testing.Short() && name != "requests without end" && name != "forged heartbeats" {
			continue // node's tests have similar ones
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n, dir := startRestrictedBroker(t, spec)
			_, addressA := serveOn(t, n.url, spec, dir, "A")
			_, addressB := serveOn(t, n.url, spec, dir, "B")
			_, addressD := serveOn(t, n.url, spec, dir, "D")
			awaitAgreement(t, "kiwi", dial(t, addressA).ask("IAMAT kiwi +1+1 5"), addressB, addressD)
			h := startHostile(t, n.url, dir, spec, bad)
			ops := connectAs(t, n.url, dir, "ops")
			var events atomic.Int64
			if _, err := ops.Subscribe("herd.event.*.mismatch."+bad, func(m *nats.Msg) {
				if bytes.Contains(m.Data, []byte("C is in quarantine for")) {
					events.Add(1)
				}
			}); err != nil {
				t.Fatal(err)
			}
			if err := ops.FlushTimeout(patience); err != nil {
				t.Fatal(err)
			}
			good := make(chan error, 1)
			stop := make(chan struct{})
			var reports atomic.Int64
			go func() { // a client that reports at one end and is looked up at the other
				a, d := dial(t, addressA), dial(t, addressD)
				for {
					select {
					case <-stop:
						good <- nil
						return
					default:
					}
					n := reports.Add(1)
					want := a.ask(fmt.Sprintf("IAMAT good +1+1 %d", 100+n))
					for until := time.Now().Add(patience); d.lookup("good") != want; {
						if time.Now().After(until) {
							good <- fmt.Errorf("D has not got report %d in %v", n, patience)
							return
						}
					}
				}
			}()
			for _, peer := range h.graph.Neighbours(bad) {
				attack(h, peer)
			}
			if err := h.nc.FlushTimeout(patience); err != nil {
				t.Fatal(err)
			}
			eventually(t, func() error {
				if got := events.Load(); got < int64(len(h.graph.Neighbours(bad))) {
					return fmt.Errorf("%d events of quarantine, want one of each neighbour", got)
				}
				return nil
			})
			eventually(t, func() error { return honestInStep(ops, bad) })
			eventually(t, func() error {
				if n := reports.Load(); n < 3 {
					return fmt.Errorf("the client made %d reports, want 3", n)
				}
				return nil
			})
			close(stop)
			if err := <-good; err != nil {
				t.Error(err)
			}
		})
	}
}

// honestInStep is nil if all servers but one answer, are ready, and are in step with each
// other.
func honestInStep(ops *nats.Conn, bad string) error {
	inbox := ops.NewInbox()
	answers, err := ops.SubscribeSync(inbox)
	if err != nil {
		return err
	}
	defer answers.Unsubscribe()
	if err := ops.PublishRequest("herd.status", inbox, nil); err != nil {
		return err
	}
	seen := 0
	for seen < 3 {
		m, err := answers.NextMsg(time.Second)
		if err != nil {
			return fmt.Errorf("%d servers answer: %w", seen, err)
		}
		var s status.Server
		if err := json.Unmarshal(m.Data, &s); err != nil {
			return err
		}
		seen++
		if !s.Ready {
			return fmt.Errorf("%s is not ready: %s", s.Server, s.Why)
		}
		for _, e := range s.Edges {
			switch {
			case e.Peer == bad && (e.Up || !strings.Contains(e.Problem, "quarantine")):
				return fmt.Errorf("the edge of %s to %s is %+v", s.Server, bad, e)
			case e.Peer != bad && !e.InStep:
				return fmt.Errorf("the edge of %s to %s is %+v", s.Server, e.Peer, e)
			}
		}
	}
	return nil
}

// TestFullMap: a herd whose map is full takes no new clients, at any server, and keeps
// serving those that it knows. It is not ready, says why, and does not grow. A restart with
// a larger limit brings all that a server with room has.
func TestFullMap(t *testing.T) {
	t.Parallel()
	const spec = "A-B"
	n, dir := startRestrictedBroker(t, spec)
	small, addressA := serveOn(t, n.url, spec, dir, "A", "HERD_MAX_MAP_BYTES=2MB")
	_, addressB := serveOn(t, n.url, spec, dir, "B")
	a, b := dial(t, addressA), dial(t, addressB)
	a.ask("IAMAT known +1+1 5")
	id := strings.Repeat("x", 7000)
	var taken, refused int
	for i := range 400 { // 2.8 MB
		switch answer := a.ask(fmt.Sprintf("IAMAT %s%d +1+1 5", id, i)); {
		case strings.HasPrefix(answer, "AT A "):
			taken++
		case strings.HasPrefix(answer, "? IAMAT x"):
			refused++
		}
	}
	if taken < 250 || refused < 100 || taken+refused != 400 {
		t.Errorf("%d new clients taken, %d refused, of 400", taken, refused)
	}
	for i := range 100 {
		if answer := b.ask(fmt.Sprintf("IAMAT %sB%d +1+1 5", id, i)); !strings.HasPrefix(answer, "AT B ") {
			t.Fatalf("B, which has room: %.80q", answer)
		}
	}
	want := b.ask("IAMAT known +2+2 6")
	awaitAgreement(t, "known", want, addressA, addressB)
	if answer := a.lookup(id + "B7"); !strings.HasPrefix(answer, "? ") {
		t.Errorf("A knows a client that there is no room for: %.80q", answer)
	}
	small.stderr.await(t, `level=WARN msg="not ready" node=A reason="the map is full: it has \d+ bytes of HERD_MAX_MAP_BYTES, 2000000, and has refused new clients"`)
	env := []string{"HERD_TOPOLOGY=" + spec, "HERD_NATS_URL=" + n.url, "HERD_NATS_SEED=" + dir}
	st := start(t, env, "status")
	if got := st.status(); got != exitFailure || contains(st.stdout.String(), "the map is full") != nil {
		t.Errorf("status: exit status %d\n%s", got, st.stdout.String())
	}
	small.signal(os.Kill) // a stop would try to hand over what B has
	small.status()
	_, addressA = serveOn(t, n.url, spec, dir, "A")
	awaitInStep(t, n.url, spec, dir)
	if answer := dial(t, addressA).lookup(id + "B7"); !strings.HasPrefix(answer, "AT B ") {
		t.Errorf("after a restart with room: %.80q", answer)
	}
}
