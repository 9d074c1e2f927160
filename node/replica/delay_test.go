package replica

import (
	"testing"
	"time"

	"herd/node/wire"
)

// newTriangle is A with its neighbours B and D, which are neighbours too, and E, which
// is nobody's but A's. All are up. To D, B and E, A is the impatient one.
func newTriangle(t *testing.T) *Replica {
	t.Helper()
	r := New(Config{
		Name: "A", Neighbours: []string{"B", "D", "E"}, Epoch: us, Topology: 7,
		Adjacent: func(a, b string) bool { return a+b == "BD" || a+b == "DB" },
	})
	for e := range r.edges {
		r.HandleHeartbeat(e, heartbeatOf(them, 0), time.Unix(50, 0))
	}
	return r
}

// What B tells A, as news of kiwi.
const hearsay = "AT B +1.000000000 kiwi +1+1 50\n"

func hear(t *testing.T, r *Replica, e int, frame string) {
	t.Helper()
	if in, _ := r.Frame(e, wire.Mark{}, []byte(frame), time.Time{}); in.Malformed > 0 {
		t.Fatalf("%q has lines that are no records", frame)
	}
}

const toB, toD, toE = 0, 1, 2 // edges of A

// TestPresumed: what B told us is news to E at once, and to D, whom B tells as well,
// only after a while, unless that turns out to know, or what we know gets newer.
func TestPresumed(t *testing.T) {
	told := func(t *testing.T, r *Replica, e int, want string) {
		t.Helper()
		if got := fill(r, e); got != want {
			t.Errorf("told %s %q, want %q", r.edges[e].peer, got, want)
		}
	}
	start := func(t *testing.T) *Replica {
		r := newTriangle(t)
		hear(t, r, toB, hearsay)
		told(t, r, toB, "")
		told(t, r, toE, hearsay)
		told(t, r, toD, "")
		if !r.Delaying() {
			t.Fatal("nothing is presumed")
		}
		return r
	}
	end := func(t *testing.T, r *Replica) {
		t.Helper()
		for range 2 * longDelay {
			r.ForwardTicked()
			told(t, r, toB, "")
			told(t, r, toD, "")
			told(t, r, toE, "")
		}
		if r.Delaying() {
			t.Error("something is presumed for ever")
		}
	}
	t.Run("told in the end", func(t *testing.T) {
		for patient, turns := range map[bool]int{false: shortDelay + 1, true: longDelay + 1} {
			for before := range 2 * longDelay {
				r := newTriangle(t)
				r.edges[toD].delayed = newDelayQueue(patient)
				for range before {
					r.ForwardTicked()
				}
				hear(t, r, toB, hearsay)
				told(t, r, toE, hearsay)
				for range turns - 1 {
					r.ForwardTicked()
					told(t, r, toD, "")
				}
				before := r.FloodSeq()
				r.ForwardTicked()
				if r.FloodSeq() == before {
					t.Error("something came to be wanted, and has no number")
				}
				told(t, r, toD, hearsay)
				end(t, r)
			}
		}
	})
	t.Run("the newest", func(t *testing.T) {
		const newer = "AT B +1.000000000 kiwi +2+2 60\n"
		r := start(t)
		for range shortDelay {
			r.ForwardTicked()
		}
		hear(t, r, toB, newer)
		told(t, r, toE, newer)
		told(t, r, toD, "")
		r.ForwardTicked()
		told(t, r, toD, newer)
		end(t, r)
	})
	t.Run("it knows", func(t *testing.T) {
		for turns := range shortDelay {
			r := start(t)
			for range turns {
				r.ForwardTicked()
			}
			hear(t, r, toD, hearsay)
			end(t, r)
		}
	})
	t.Run("it knows newer", func(t *testing.T) {
		const newer = "AT D +1.000000000 kiwi +2+2 60\n"
		r := start(t)
		hear(t, r, toD, newer)
		told(t, r, toE, newer)
		for range shortDelay + 1 {
			told(t, r, toB, "") // whom D tells
			r.ForwardTicked()
		}
		told(t, r, toB, newer)
		end(t, r)
	})
	t.Run("newer from a client", func(t *testing.T) {
		r := start(t)
		newer := say(t, r, "IAMAT kiwi +2+2 60", 61) + "\n"
		for e := range r.edges {
			told(t, r, e, newer)
		}
		end(t, r)
	})
	t.Run("older from a client", func(t *testing.T) { // who is told that it is known
		r := start(t)
		say(t, r, "IAMAT kiwi +2+2 40", 61)
		told(t, r, toD, hearsay)
		end(t, r)
	})
	t.Run("down", func(t *testing.T) {
		r := start(t)
		r.ForwardTicked()
		r.Disconnected()
		if b := &r.edges[toD].backlog; b.length != 1 || r.Delaying() {
			t.Errorf("%d records in the backlog, want 1, and delaying %v", b.length, r.Delaying())
		}
	})
	t.Run("was down", func(t *testing.T) {
		r := newTriangle(t)
		r.Disconnected()
		hear(t, r, toB, hearsay)
		if b := &r.edges[toD].backlog; b.length != 1 || r.Delaying() {
			t.Errorf("%d records in the backlog, want 1, and delaying %v", b.length, r.Delaying())
		}
	})
	t.Run("no time", func(t *testing.T) {
		r := start(t)
		r.StopDelaying()
		told(t, r, toD, hearsay)
		hear(t, r, toB, "AT B +1.000000000 emu +2+2 60\n")
		told(t, r, toD, "AT B +1.000000000 emu +2+2 60\n")
	})
	t.Run("from a repair", func(t *testing.T) { // what B had, it may have had before D came
		r := newTriangle(t)
		r.edges[toD].sync.inStep = true
		if news, err := r.mergeReply(toB, []byte(hearsay), repaired); news != 1 || err != nil {
			t.Fatal(news, err)
		}
		told(t, r, toD, hearsay)
		end(t, r)
	})
	t.Run("from an answer that is late", func(t *testing.T) { // which B gave to nobody else
		r := newTriangle(t)
		if _, err := r.HandleReply(toB, wire.Sync{Kind: wire.ReplyLines, ID: 9, Last: true, Done: 1, Body: []byte(hearsay)}.Append(nil), time.Unix(60, 0)); err != nil {
			t.Fatal(err)
		}
		told(t, r, toD, hearsay)
		told(t, r, toE, hearsay)
		end(t, r)
	})
	t.Run("while an older one is sent", func(t *testing.T) {
		r := newTriangle(t)
		say(t, r, "IAMAT kiwi +1+1 40", 41)
		r.NextFrame(toD, nil)
		hear(t, r, toB, hearsay)
		r.FrameDone(toD, NotSent)
		told(t, r, toD, hearsay)
		told(t, r, toE, hearsay)
		end(t, r)
	})
	t.Run("behind what waits", func(t *testing.T) { // in the place of the older record
		r := newTriangle(t)
		say(t, r, "IAMAT kiwi +1+1 40", 41)
		hear(t, r, toB, hearsay)
		told(t, r, toD, hearsay)
		told(t, r, toE, hearsay)
		end(t, r)
	})
}

// TestPatience: of two neighbours one is patient with the other.
func TestPatience(t *testing.T) {
	a := New(Config{Name: "A", Neighbours: []string{"B"}})
	b := New(Config{Name: "B", Neighbours: []string{"A"}})
	if len(a.edges[0].delayed.ends) == len(b.edges[0].delayed.ends) {
		t.Error("both are patient, or none is")
	}
}
