package node

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"herd/bus"
	"herd/node/replica"
	"herd/node/wire"
)

// TestNeighbourUnreachable: a report while a neighbour is down reaches it when it is up
// again.
func TestNeighbourUnreachable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newTestHerd(t, "A-B").startAll()
		settle()
		h.network.Cut("A", "B")
		time.Sleep(5 * time.Second)
		want := h.dial("A").ask("IAMAT kiwi +1+1 100")
		time.Sleep(5 * time.Second)
		if got := h.record("B", "kiwi"); got != "?" {
			t.Fatalf("B has %q across the cut", got)
		}
		h.network.Heal("A", "B")
		time.Sleep(1500 * time.Millisecond) // until the next heartbeat
		settle()
		h.wantRecord("kiwi", want)
	})
}

// TestNeighbourRestarted: a neighbour that was restarted gets the reports that it missed,
// and forwards again.
func TestNeighbourRestarted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newTestHerd(t, "A-B,B-C").startAll()
		settle()
		if err := h.servers["B"].stop(); err != nil {
			t.Fatal(err)
		}
		fromA := h.dial("A").ask("IAMAT kiwi +1+1 100")
		fromC := h.dial("C").ask("IAMAT emu +1+1 100")
		time.Sleep(10 * time.Second)
		h.start("B", 77, nil)
		settle()
		h.wantRecord("kiwi", fromA)
		h.wantRecord("emu", fromC)
	})
}

// TestEvents: a server publishes events for its start, its stop, and neighbours that go up
// or down.
func TestEvents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newTestHerd(t, "A-B")
		var mu sync.Mutex
		var events []string
		h.network.Tap(func(subject string, m bus.Message) {
			if m.Lane == "" {
				mu.Lock()
				defer mu.Unlock()
				events = append(events, strings.TrimPrefix(subject, "herd.event."))
				if !strings.Contains(string(m.Data), " A: ") && !strings.Contains(string(m.Data), " B: ") || strings.Contains(string(m.Data), "\n") {
					t.Errorf("event %s is %q, want one line that names its server", subject, m.Data)
				}
			}
		})
		h.startAll()
		settle()
		h.network.Cut("A", "B")
		time.Sleep(5 * time.Second)
		h.network.Heal("A", "B")
		time.Sleep(2 * time.Second)
		h.servers["B"].stop()
		settle()
		h.servers["A"].stop()
		mu.Lock()
		defer mu.Unlock()
		slices.Sort(events)
		got := strings.Join(slices.Compact(events), " ")
		if want := "A.down.B A.start A.stop A.up.B B.down.A B.start B.stop B.up.A"; got != want {
			t.Errorf("events %q, want %q", got, want)
		}
	})
}

// TestMalformedInput: malformed lines from a neighbour are dropped, and reported at most
// once a second. The records among them are merged.
func TestMalformedInput(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newTestHerd(t, "A-B")
		events := make(chan string, 1000)
		h.network.Tap(func(subject string, m bus.Message) {
			if subject == "herd.event.A.mismatch.B" {
				events <- string(m.Data)
			}
		})
		h.startAll()
		settle()
		a := h.servers["A"].node
		const record = "AT B +1.000000000 kiwi +1+1 100"
		a.Receive(bus.Message{Lane: bus.Records, Peer: "B", Data: []byte("\x00\xff\n" + record + "\nIAMAT x +1+1 1\n")})
		a.Receive(bus.Message{Lane: bus.Records, Peer: "nobody", Data: []byte("AT B +1.000000000 emu +1+1 100")})
		a.Receive(bus.Message{Lane: bus.Heartbeat, Peer: "B", Data: []byte("not a heartbeat")})
		a.Receive(bus.Message{Lane: bus.Records, Peer: "B", Data: []byte(strings.Repeat("malformed\n", 500))})
		settle()
		if got := h.record("A", "kiwi"); got != record+"\n" {
			t.Errorf("A has %q, want the record among the malformed lines", got)
		}
		if got := h.record("A", "emu"); got != "?" {
			t.Errorf("a record from a server that is not a neighbour was merged: %q", got)
		}
		if n := len(events); n != 1 {
			t.Errorf("%d events within a second, want 1", n)
		}
		if first := <-events; !strings.Contains(first, `dropped 2 malformed lines from B, the last: "IAMAT x +1+1 1"`) {
			t.Errorf("event %q, want the number of lines and a sample", first)
		}
		time.Sleep(2 * time.Second) // the rest is reported, although no more arrives
		if next := <-events; !strings.Contains(next, `dropped 501 malformed lines from B, the last: "malformed"`) {
			t.Errorf("event %q, want the number of lines since the last event", next)
		}
	})
}

// heartbeatOf is the heartbeat of a server that is ready and has an empty map.
func heartbeatOf(change func(*wire.Heartbeat)) []byte {
	b := wire.Heartbeat{Epoch: 9, Clock: wire.InstantOf(time.Now()), Format: wire.Format, Ready: true}
	change(&b)
	return b.Append(nil)
}

// TestStranger: the heartbeat of a server that is no neighbour is answered with `noedge`,
// once a second, for a bounded number of servers, and unless that could go on for ever.
// Whatever else it sends is dropped.
func TestStranger(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newTestHerd(t, "A-B")
		var mu sync.Mutex
		answers := map[string][]string{} // by receiver
		h.network.Tap(func(subject string, m bus.Message) {
			if to, ok := strings.CutPrefix(subject, "herd.beat.A."); ok && to != "B" {
				mu.Lock()
				defer mu.Unlock()
				answers[to] = append(answers[to], string(m.Data))
			}
		})
		h.startAll()
		a := h.servers["A"].node
		sent := func(peer string) []string {
			mu.Lock()
			defer mu.Unlock()
			return answers[peer]
		}
		plain := heartbeatOf(func(*wire.Heartbeat) {})
		for range 5 {
			a.Receive(bus.Message{Lane: bus.Heartbeat, Peer: "X", Data: plain})
		}
		if got := sent("X"); len(got) != 1 || !strings.Contains(got[0], " noedge") || !strings.Contains(got[0], fmt.Sprintf("format=%d", wire.Format)) {
			t.Fatalf("answers %q to five heartbeats, want one that says noedge", got)
		}
		time.Sleep(strangerEvery)
		a.Receive(bus.Message{Lane: bus.Heartbeat, Peer: "X", Data: plain})
		if got := sent("X"); len(got) != 2 {
			t.Errorf("%d answers after a second, want 2", len(got))
		}
		for name, m := range map[string]bus.Message{
			"Noedge":    {Lane: bus.Heartbeat, Data: heartbeatOf(func(b *wire.Heartbeat) { b.NoEdge = true })},
			"Bye":       {Lane: bus.Heartbeat, Data: heartbeatOf(func(b *wire.Heartbeat) { b.Bye = true })},
			"Malformed": {Lane: bus.Heartbeat, Data: []byte("hello")},
			"Record":    {Lane: bus.Records, Data: []byte("AT X +1.000000000 kiwi +1+1 100")},
			"Request":   {Lane: bus.SyncRequest, Data: wire.Sync{Kind: wire.RequestGroups}.Append(nil)},
			"Reply":     {Lane: bus.SyncReply, Data: wire.Sync{Kind: wire.ReplyLines, Body: []byte("AT X +1.000000000 kiwi +1+1 100")}.Append(nil)},
		} {
			m.Peer = name
			a.Receive(m)
			if got := sent(name); len(got) > 0 {
				t.Errorf("%s: answered with %q", name, got)
			}
		}
		if got := h.record("A", "kiwi"); got != "?" {
			t.Errorf("a record of a server that is no neighbour was merged: %q", got)
		}
		time.Sleep(strangerEvery)
		for i := range 2 * maxStrangers {
			a.Receive(bus.Message{Lane: bus.Heartbeat, Peer: fmt.Sprint("N", i), Data: plain})
		}
		mu.Lock()
		count := len(answers) - 1 // without X
		mu.Unlock()
		if count != maxStrangers {
			t.Errorf("%d servers were answered within a second, want %d", count, maxStrangers)
		}
		time.Sleep(strangerEvery)
		a.Receive(bus.Message{Lane: bus.Heartbeat, Peer: "Y", Data: plain})
		if len(sent("Y")) != 1 {
			t.Error("a second later the next server is not answered")
		}
	})
}

// TestTopologiesDiffer: two neighbours exchange records although their topologies differ.
// Each reports that once, and shows it.
func TestTopologiesDiffer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newTestHerd(t, "A-B")
		var mu sync.Mutex
		reported := map[string]int{}
		h.network.Tap(func(subject string, m bus.Message) {
			if strings.Contains(subject, ".mismatch.") {
				mu.Lock()
				defer mu.Unlock()
				reported[subject]++
			}
		})
		h.start("A", 1, nil)
		h.start("B", 2, func(cfg *Config) { cfg.Topology++ })
		settle()
		want := h.dial("A").ask("IAMAT kiwi +1+1 100")
		time.Sleep(10 * time.Second)
		h.wantRecord("kiwi", want)
		if e := h.servers["A"].node.Stats().Edges[0]; !e.Up || !e.InStep || e.Refused || !strings.HasPrefix(e.Problem, "B has another topology: ") {
			t.Errorf("the edge is %+v, want it up, in step and with a problem", e)
		}
		mu.Lock()
		defer mu.Unlock()
		if reported["herd.event.A.mismatch.B"] != 1 || reported["herd.event.B.mismatch.A"] != 1 {
			t.Errorf("events %v, want one at each end", reported)
		}
	})
}

// TestEdgesComeAndGo: records flow over an edge that was added while the server runs, with
// all that was reported before, and not over one that was removed.
func TestEdgesComeAndGo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newTestHerd(t, "A-B,B-C,A-C") // the bus has all edges
		for i, name := range []string{"A", "B", "C"} {
			h.start(name, uint64(i+1), func(cfg *Config) {
				cfg.Neighbours = map[string][]string{"A": {"B"}, "B": {"A"}}[name]
			})
		}
		settle()
		set := func(name string, neighbours ...string) {
			n := h.servers[name].node
			n.mu.Lock()
			events := n.replica.SetTopology(replica.Topology{Neighbours: neighbours, Hash: 5}, time.Now())
			n.mu.Unlock()
			n.emit(events)
		}
		kiwi := h.dial("A").ask("IAMAT kiwi +1+1 100")
		settle()
		set("A", "B", "C")
		time.Sleep(2 * time.Second)
		if e := h.servers["A"].node.Stats().Edges[1]; e.Up || !e.Refused {
			t.Errorf("the edge that A alone lists is %+v, want it refused", e)
		}
		set("C", "A")
		time.Sleep(2 * time.Second)
		settle()
		h.wantRecord("kiwi", kiwi)
		h.wantRecord("emu", h.dial("C").ask("IAMAT emu +1+1 100"))
		set("A", "C")
		time.Sleep(2 * time.Second)
		rhea := h.dial("A").ask("IAMAT rhea +1+1 100")
		settle()
		if b, c := h.record("B", "rhea"), h.record("C", "rhea"); b != "?" || c != rhea {
			t.Errorf("B has %q and C %q, want ? and %q", b, c, rhea)
		}
		if edges := h.servers["A"].node.Stats().Edges; len(edges) != 1 || edges[0].Peer != "C" {
			t.Errorf("A's edges are %+v, want the one to C", edges)
		}
		if e := h.servers["B"].node.Stats().Edges[0]; e.Up || !e.Refused {
			t.Errorf("B's edge to A is %+v, want it refused", e)
		}
	})
}

// TestReportTooLong: a report whose record would be longer than the format allows is an
// invalid command, and is not stored.
func TestReportTooLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newSolo(t, func(cfg *Config) { cfg.Limits.Line = 1 << 20 })
		settle()
		c := h.dial("Solo")
		for _, command := range []string{
			"IAMAT " + strings.Repeat("x", wire.MaxClient+1) + " +1+1 100",
			"IAMAT x +1+1 100." + strings.Repeat("0", wire.MaxRecord),
		} {
			if got := c.ask(command); got != "? "+command+"\n" {
				t.Errorf("%.40q… is answered %.40q… of %d bytes, want its copy", command, got, len(got))
			}
		}
		if n := h.servers["Solo"].node.Stats().Records; n != 0 {
			t.Errorf("%d records are stored", n)
		}
		h.wantRefusals("Solo", "line_length", 2)
	})
}
