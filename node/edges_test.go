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

// TestNeighbourAway: what is reported while a neighbour is down waits for it.
func TestNeighbourAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newTestHerd(t, "A-B").startAll()
		settle()
		h.network.Cut("A", "B")
		time.Sleep(5 * time.Second)
		want := h.dial("A").ask("IAMAT kiwi +1+1 100")
		time.Sleep(5 * time.Second)
		if got := h.where("B", "kiwi"); got != "?" {
			t.Fatalf("B has %q across the cut", got)
		}
		h.network.Heal("A", "B")
		time.Sleep(1500 * time.Millisecond) // until the next beat
		settle()
		h.agree("kiwi", want)
	})
}

// TestNeighbourRestarted: a neighbour that comes back with a new life is told
// what waited, and is heard.
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
		h.agree("kiwi", fromA)
		h.agree("emu", fromC)
	})
}

// TestEvents: people are told of the start, of neighbours coming and going, and
// of the stop.
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
					t.Errorf("event %s says %q, want one line that names its server", subject, m.Data)
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

// TestJunkOnAnEdge: bytes that are no records are dropped with a notice, once a
// second at most, and hurt nobody.
func TestJunkOnAnEdge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newTestHerd(t, "A-B")
		notices := make(chan string, 1000)
		h.network.Tap(func(subject string, m bus.Message) {
			if subject == "herd.event.A.mismatch.B" {
				notices <- string(m.Data)
			}
		})
		h.startAll()
		settle()
		a := h.servers["A"].node
		const record = "AT B +1.000000000 kiwi +1+1 100"
		a.Receive(bus.Message{Lane: bus.Records, Peer: "B", Data: []byte("\x00\xff\n" + record + "\nIAMAT x +1+1 1\n")})
		a.Receive(bus.Message{Lane: bus.Records, Peer: "nobody", Data: []byte("AT B +1.000000000 emu +1+1 100")})
		a.Receive(bus.Message{Lane: bus.Heartbeat, Peer: "B", Data: []byte("lub dub")})
		for range 500 {
			a.Receive(bus.Message{Lane: bus.Records, Peer: "B", Data: []byte("junk\n")})
		}
		settle()
		if got := h.where("A", "kiwi"); got != record+"\n" {
			t.Errorf("A has %q, want the one record amid the junk", got)
		}
		if got := h.where("A", "emu"); got != "?" {
			t.Errorf("a record from no neighbour was merged: %q", got)
		}
		if n := len(notices); n != 1 {
			t.Errorf("%d notices of junk within a second, want 1", n)
		}
		if first := <-notices; !strings.Contains(first, `lines from B, 2, the last "IAMAT x +1+1 1"`) {
			t.Errorf("notice %q, want the count and a sample", first)
		}
		time.Sleep(2 * time.Second) // the rest is told of, though no more comes
		if next := <-notices; !strings.Contains(next, `lines from B, 501, the last "junk"`) {
			t.Errorf("notice %q, want the count of all since the last", next)
		}
	})
}
