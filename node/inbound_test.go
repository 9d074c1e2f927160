package node

import (
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"herd/bus"
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
		for range 500 {
			a.Receive(bus.Message{Lane: bus.Records, Peer: "B", Data: []byte("malformed\n")})
		}
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
