package replica

import (
	"testing"
	"time"

	"herd/node/wire"
)

// newTriangle is A with its neighbours B, D and E, all up. B and D are neighbours of each
// other too. E is a neighbour of A only. A's delays are the short ones.
func newTriangle() *Replica {
	return bringUp(New(Config{
		Name: "A", Epoch: ourEpoch,
		Topology: Topology{Neighbours: []string{"B", "D", "E"}, Hash: 7, Adjacent: func(a, b string) bool { return a+b == "BD" || a+b == "DB" }},
	}), time.Unix(50, 0))
}

const toB, toD, toE = 0, 1, 2 // edges of A

// fromB is a record that B sends to A in these tests.
const fromB = "AT B +1.000000000 kiwi +1+1 50\n"

// receive merges a frame that arrives over edge e.
func receive(t *testing.T, r *Replica, e int, frame string) {
	t.Helper()
	if result, _ := r.Frame(e, wire.Mark{}, []byte(frame), time.Time{}); result.Malformed > 0 {
		t.Fatalf("%q contains malformed lines", frame)
	}
}

// wantSent checks what a flush sends over edge e.
func wantSent(t *testing.T, r *Replica, e int, want string) {
	t.Helper()
	if got := flush(r, e); got != want {
		t.Errorf("sent to %s: %q, want %q", r.edges[e].peer, got, want)
	}
}

// wantNothingMore checks that nothing is sent from now on, and that nothing stays delayed.
func wantNothingMore(t *testing.T, r *Replica) {
	t.Helper()
	for range 2 * longDelay {
		r.ForwardTicked()
		wantSent(t, r, toB, "")
		wantSent(t, r, toD, "")
		wantSent(t, r, toE, "")
	}
	if r.Delaying() {
		t.Error("a record stays delayed")
	}
}

// TestDelayedForwarding: a record from B is forwarded to E at once. D should get it from
// B, so it is forwarded to D after a delay, unless D sends it first or a newer one
// arrives.
func TestDelayedForwarding(t *testing.T) {
	// delayed is a triangle after A has received fromB: it is delayed for D.
	delayed := func(t *testing.T) *Replica {
		r := newTriangle()
		receive(t, r, toB, fromB)
		wantSent(t, r, toB, "")
		wantSent(t, r, toE, fromB)
		wantSent(t, r, toD, "")
		if !r.Delaying() {
			t.Fatal("nothing is delayed")
		}
		return r
	}
	t.Run("forwarded after the delay", func(t *testing.T) {
		for long, ticks := range map[bool]int{false: shortDelay + 1, true: longDelay + 1} {
			for earlier := range 2 * longDelay {
				r := newTriangle()
				r.edges[toD].delayed = newDelayQueue(long)
				for range earlier {
					r.ForwardTicked()
				}
				receive(t, r, toB, fromB)
				wantSent(t, r, toE, fromB)
				for range ticks - 1 {
					r.ForwardTicked()
					wantSent(t, r, toD, "")
				}
				before := r.FloodSeq()
				r.ForwardTicked()
				if r.FloodSeq() == before {
					t.Error("a record became live, but FloodSeq did not change")
				}
				wantSent(t, r, toD, fromB)
				wantNothingMore(t, r)
			}
		}
	})
	t.Run("newer record takes the place", func(t *testing.T) {
		const newer = "AT B +1.000000000 kiwi +2+2 60\n"
		r := delayed(t)
		for range shortDelay {
			r.ForwardTicked()
		}
		receive(t, r, toB, newer)
		wantSent(t, r, toE, newer)
		wantSent(t, r, toD, "")
		r.ForwardTicked()
		wantSent(t, r, toD, newer)
		wantNothingMore(t, r)
	})
	t.Run("neighbour sends it", func(t *testing.T) {
		for ticks := range shortDelay {
			r := delayed(t)
			for range ticks {
				r.ForwardTicked()
			}
			receive(t, r, toD, fromB)
			wantNothingMore(t, r)
		}
	})
	t.Run("neighbour sends a newer one", func(t *testing.T) {
		const newer = "AT D +1.000000000 kiwi +2+2 60\n"
		r := delayed(t)
		receive(t, r, toD, newer)
		wantSent(t, r, toE, newer)
		for range shortDelay + 1 {
			wantSent(t, r, toB, "") // B should get it from D
			r.ForwardTicked()
		}
		wantSent(t, r, toB, newer)
		wantNothingMore(t, r)
	})
	t.Run("client reports a newer one", func(t *testing.T) {
		r := delayed(t)
		newer := report(t, r, "IAMAT kiwi +2+2 60", 61) + "\n"
		for e := range r.edges {
			wantSent(t, r, e, newer)
		}
		wantNothingMore(t, r)
	})
	t.Run("client reports an older one", func(t *testing.T) { // its reply must not be ahead of the winner
		r := delayed(t)
		report(t, r, "IAMAT kiwi +2+2 40", 61)
		wantSent(t, r, toD, fromB)
		wantNothingMore(t, r)
	})
	t.Run("neighbour goes down", func(t *testing.T) {
		r := delayed(t)
		r.ForwardTicked()
		r.Disconnected()
		if b := &r.edges[toD].backlog; b.length != 1 || r.Delaying() {
			t.Errorf("%d records in the backlog, want 1, and delaying %v", b.length, r.Delaying())
		}
	})
	t.Run("neighbour is down", func(t *testing.T) {
		r := newTriangle()
		r.Disconnected()
		receive(t, r, toB, fromB)
		if b := &r.edges[toD].backlog; b.length != 1 || r.Delaying() {
			t.Errorf("%d records in the backlog, want 1, and delaying %v", b.length, r.Delaying())
		}
	})
	t.Run("StopDelaying", func(t *testing.T) {
		r := delayed(t)
		r.StopDelaying()
		wantSent(t, r, toD, fromB)
		receive(t, r, toB, "AT B +1.000000000 emu +2+2 60\n")
		wantSent(t, r, toD, "AT B +1.000000000 emu +2+2 60\n")
	})
	t.Run("repaired record is not delayed", func(t *testing.T) { // B may have had it before D came up
		r := newTriangle()
		r.cfg.Repair, r.edges[toE].heartbeat.NoRepair = time.Minute, false
		r.edges[toD].sync.inStep, r.edges[toE].sync.inStep = true, false
		if got, err := r.mergeReply(toB, []byte(fromB), repaired); got.news != 1 || err != nil {
			t.Fatal(got, err)
		}
		wantSent(t, r, toD, fromB)
		wantNothingMore(t, r)
	})
	t.Run("record of a late reply is not delayed", func(t *testing.T) { // B sent it to nobody else
		r := newTriangle()
		if _, err := r.HandleReply(toB, wire.Sync{Kind: wire.ReplyLines, ID: 9, Last: true, Done: 1, Body: []byte(fromB)}.Append(nil), time.Unix(60, 0)); err != nil {
			t.Fatal(err)
		}
		wantSent(t, r, toD, fromB)
		wantSent(t, r, toE, fromB)
		wantNothingMore(t, r)
	})
	t.Run("older record is in flight", func(t *testing.T) {
		r := newTriangle()
		report(t, r, "IAMAT kiwi +1+1 40", 41)
		r.NextFrame(toD, nil)
		receive(t, r, toB, fromB)
		r.FrameDone(toD, NotSent)
		wantSent(t, r, toD, fromB)
		wantSent(t, r, toE, fromB)
		wantNothingMore(t, r)
	})
	t.Run("older record is queued", func(t *testing.T) { // the new one takes its place
		r := newTriangle()
		report(t, r, "IAMAT kiwi +1+1 40", 41)
		receive(t, r, toB, fromB)
		wantSent(t, r, toD, fromB)
		wantSent(t, r, toE, fromB)
		wantNothingMore(t, r)
	})
}

// TestDelaysDiffer: of two neighbours, one has the short delay and the other the long one.
func TestDelaysDiffer(t *testing.T) {
	a := New(Config{Name: "A", Topology: Topology{Neighbours: []string{"B"}}})
	b := New(Config{Name: "B", Topology: Topology{Neighbours: []string{"A"}}})
	if len(a.edges[0].delayed.ends) == len(b.edges[0].delayed.ends) {
		t.Error("both have the same delay")
	}
}
