package replica

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"herd/node/wire"
)

// TestExpiryPauses: nothing expires while our clock may be wrong.
func TestExpiryPauses(t *testing.T) {
	type step struct {
		what string
		do   func(*kept)
		why  string // part of ExpiryPaused; "" for none
	}
	wait := func(d time.Duration) func(*kept) { return func(k *kept) { k.pass(d) } }
	jump := func(by time.Duration) func(*kept) {
		return func(k *kept) { k.off += by; k.pass(time.Second) }
	}
	for name, c := range map[string]struct {
		peers []string
		steps []step
	}{
		"start with a neighbour": {[]string{"B"}, []step{
			{"not ready", wait(time.Minute), "not ready"},
			{"ready", func(k *kept) { k.r.BeginExpiry(k.now); k.pass(time.Second) }, ""},
		}},
		"start with a neighbour that differs": {[]string{"B"}, []step{
			{"ready", func(k *kept) { k.skew = time.Minute; k.r.BeginExpiry(k.now); k.pass(time.Minute) }, "agrees with no neighbour's yet"},
			{"two heartbeats agree", func(k *kept) { k.skew = 0; k.pass(2 * time.Second) }, "agrees with no neighbour's yet"},
			{"three heartbeats agree", wait(time.Second), ""},
		}},
		"start without the neighbour": {[]string{"B"}, []step{
			{"ready", func(k *kept) { k.silent = true; k.r.BeginExpiry(k.now); k.pass(clockAlone - time.Second) }, "agrees with no neighbour's yet"},
			{"alone", wait(2 * time.Second), ""},
		}},
		"start with a neighbour that differs and goes down": {[]string{"B"}, []step{
			{"ready", func(k *kept) { k.skew = time.Minute; k.r.BeginExpiry(k.now); k.pass(time.Minute) }, "agrees with no neighbour's yet"},
			{"alone", func(k *kept) { k.silent = true; k.pass(time.Hour) }, "agrees with no neighbour's yet"},
			{"the neighbour is right", func(k *kept) { k.skew, k.silent = 0, false; k.pass(4 * time.Second) }, ""},
		}},
		"the neighbour's clock moves": {[]string{"B"}, []step{
			{"ready", func(k *kept) { k.begin() }, ""},
			{"by a little", func(k *kept) { k.skew = 29 * time.Second; k.pass(time.Minute) }, ""},
			{"by more", func(k *kept) { k.skew = 31 * time.Second; k.pass(3 * time.Second) }, "agrees with no neighbour's any more"},
			{"the neighbour is down", func(k *kept) { k.silent = true; k.pass(time.Hour) }, "agrees with no neighbour's any more"},
			{"the neighbour is right", func(k *kept) { k.skew, k.silent = 0, false; k.pass(4 * time.Second) }, ""},
		}},
		"one of two neighbours agrees": {[]string{"B", "C"}, []step{
			{"ready", func(k *kept) { k.begin() }, ""},
			{"the other does not", func(k *kept) {
				for range 5 {
					k.pass(time.Second)
					late := k.beat
					late.Clock = late.Clock.Sub(wire.Instant{Sec: 3600})
					k.r.HandleHeartbeat(1, late, k.now)
				}
				k.note(k.r.Tick(k.now))
			}, ""},
		}},
		"jump": {[]string{"B"}, []step{
			{"ready", func(k *kept) { k.begin() }, ""},
			{"a small jump", jump(29 * time.Second), ""},
			{"a jump", func(k *kept) { k.skew = time.Hour; jump(time.Hour)(k) }, "has jumped"},
			{"two heartbeats", wait(2 * time.Second), "has jumped"},
			{"the neighbour restarts", func(k *kept) { k.beat.Epoch++; k.pass(2 * time.Second) }, "has jumped"},
			{"after some time without heartbeats", func(k *kept) { k.silent = true; k.pass(time.Minute) }, "has jumped"},
			{"three heartbeats", func(k *kept) { k.silent = false; k.pass(3 * time.Second) }, ""},
		}},
		"jump back": {[]string{"B"}, []step{
			{"ready", func(k *kept) { k.begin() }, ""},
			{"a jump", func(k *kept) { k.skew = -time.Hour; jump(-time.Hour)(k) }, "has jumped"},
			{"three heartbeats", wait(3 * time.Second), ""},
		}},
		"jump of a herd of one": {nil, []step{
			{"ready", func(k *kept) { k.begin() }, ""},
			{"a jump", jump(time.Hour), "has jumped"},
			{"for as long as records are kept", wait(testKeep - time.Second), "has jumped"},
			{"after that", wait(time.Second), ""},
		}},
		"clock off": {[]string{"B", "C"}, []step{
			{"ready", func(k *kept) { k.begin() }, ""},
			{"both neighbours' clocks move", func(k *kept) {
				k.skew = time.Hour
				for range 5 {
					k.pass(time.Second)
					k.r.HandleHeartbeat(1, k.beat, k.now)
				}
				k.note(k.r.Tick(k.now))
			}, "is off"},
		}},
	} {
		k := newKept(t, c.peers...)
		for _, s := range c.steps {
			s.do(k)
			if why := k.r.ExpiryPaused(); (why == "") != (s.why == "") || !strings.Contains(why, s.why) {
				t.Errorf("%s: %s: paused because %q, want %q", name, s.what, why, s.why)
			}
		}
	}
}

// TestNothingExpiresWhilePaused: a jump of the clock makes no client unknown, not even before the next tick, and is reported
// once.
func TestNothingExpiresWhilePaused(t *testing.T) {
	k := newKept(t, "B").begin()
	k.report("kiwi")
	k.off = 24 * time.Hour
	k.expect("after the jump", true, 1, 1)
	k.pass(time.Minute)
	k.expect("a minute later", true, 1, 1)
	k.off = 0
	k.pass(5 * time.Second)
	k.expect("the clock is right", true, 1, 1)
	if want := []string{"records do not expire: this server's clock (A) has jumped, and agrees with no neighbour's since", "records expire again"}; !slices.Equal(k.reports, want) {
		t.Errorf("reported %q, want %q", k.reports, want)
	}
	k.pass(testKeep)
	k.expect("after its time", false, 0, 1)
}

// TestClockThatWasTrusted: a server whose clock was wrong without anybody to tell takes records again once it is right.
func TestClockThatWasTrusted(t *testing.T) {
	k := newKept(t, "B")
	k.off, k.silent = 24*time.Hour, true
	k.r.BeginExpiry(k.now)
	k.pass(time.Minute)
	k.frame(k.record("kiwi", 0))
	k.expect("its clock is wrong", false, 0, 1)
	k.off, k.silent = 0, false
	k.pass(5 * time.Second)
	k.frame(k.record("kiwi", 0))
	k.expect("its clock is right", true, 1, 1)
}

// TestPauseIsReported: a server that finds no clock that agrees with its own reports that nothing expires: once, and not before it
// had time to compare them.
func TestPauseIsReported(t *testing.T) {
	k := newKept(t, "B")
	k.skew = time.Hour
	k.pass(5 * time.Second)
	k.r.BeginExpiry(k.now)
	k.pass(clockAlone - time.Second)
	if len(k.reports) > 0 {
		t.Errorf("reported %q, want nothing yet", k.reports)
	}
	k.pass(time.Minute)
	if want := []string{"records do not expire: this server's clock (A) agrees with no neighbour's yet"}; !slices.Equal(k.reports, want) {
		t.Errorf("reported %q, want %q", k.reports, want)
	}
	k.skew = 0
	k.pass(10 * time.Second)
	if len(k.reports) != 2 || k.reports[1] != "records expire again" {
		t.Errorf("reported %q, want that records expire again", k.reports)
	}
}

// TestTrustIsWithdrawn: a server that trusted a wrong clock while it was alone does not rely on it once a neighbour's differs: what is
// live by the neighbour's clock is known here. When the clock is right, records expire as they should.
func TestTrustIsWithdrawn(t *testing.T) {
	k := newKept(t, "B")
	k.off, k.silent = 24*time.Hour, true
	k.r.BeginExpiry(k.now)
	k.pass(removeAlone + time.Minute) // the floor has risen, too
	k.frame(k.record("kiwi", 0))
	k.expect("alone", false, 0, 0)
	k.silent = false
	k.pass(time.Minute)
	if got := k.frame(k.record("kiwi", testKeep/2)); got.News != 1 {
		t.Errorf("a live record of the neighbour: %+v, want news", got)
	}
	k.pass(testKeep)
	k.expect("while the clocks differ", true, 1, 1)
	k.frame(k.record("emu", 0))
	k.off = 0
	k.pass(5 * time.Second)
	k.expect("the clock is right", false, 1, 1)
	k.pass(testKeep + expiryGrace + time.Minute)
	k.expect("all has expired", false, 0, 0)
}

// TestClockDrifts: a clock that drifts away from the only neighbour's, without a jump, makes no record stale or unknown.
func TestClockDrifts(t *testing.T) {
	k := newKept(t, "B").begin()
	for range 120 {
		k.off += 10 * time.Second
		k.pass(time.Second)
		if got := k.frame(k.record("kiwi", testKeep-time.Minute)); got.News != 1 || !k.knows("kiwi") {
			t.Fatalf("a live record, when our clock is ahead by %v: %+v, known: %v", k.off, got, k.knows("kiwi"))
		}
	}
	if want := []string{"records do not expire: this server's clock (A) agrees with no neighbour's any more"}; !slices.Equal(k.reports, want) {
		t.Errorf("reported %q, want %q", k.reports, want)
	}
}

// TestFloorAfterDispute: when the clock is right again, cutoff and floor follow it also back.
func TestFloorAfterDispute(t *testing.T) {
	k := newKept(t, "B").begin()
	k.skew = time.Hour // it is B's clock that is wrong
	k.pass(time.Minute)
	before := k.r.Expiry().Floor
	k.skew = -time.Hour
	k.pass(time.Minute)
	if got := k.r.Expiry().Floor; got > before-3500 || got < before-3700 {
		t.Errorf("the neighbour is an hour late: the floor is %d, want an hour less than %d", got, before)
	}
	k.skew = 0
	k.pass(5 * time.Second)
	if got, want := k.r.Expiry().Floor, k.r.keep.slotOf(k.now.Unix()-int64((testKeep+expiryGrace)/time.Second))*wire.SlotSeconds; got != want {
		t.Errorf("the clocks agree: the floor is %d, want %d", got, want)
	}

	drift := func(by time.Duration) { // without a jump
		for range 60 {
			k.off += by / 60
			k.skew = k.off
			k.pass(time.Second)
		}
	}
	drift(20 * time.Minute) // both
	k.skew += time.Minute
	k.pass(5 * time.Second)
	k.silent = true
	k.pass(time.Minute)
	drift(-20 * time.Minute)
	k.silent = false
	k.pass(5 * time.Second)
	if got, want := k.r.Expiry().Floor, k.r.keep.slotOf(k.now.Unix()-int64((testKeep+expiryGrace)/time.Second))*wire.SlotSeconds; got != want {
		t.Errorf("both clocks are right: the floor is %d, want %d", got, want)
	}
}

// TestAloneRemovesLater: a server whose clock agrees with no neighbour's removes nothing for removeAlone, and says so once. Answers go
// by its clock.
func TestAloneRemovesLater(t *testing.T) {
	const said = "this server's clock (A) was compared with no neighbour's: records that expire stay in the map for 10m0s"
	for name, peers := range map[string][]string{"a herd of one": nil, "a neighbour that is down": {"B"}} {
		k := newKept(t, peers...)
		k.silent = true
		k.r.Replay([]byte(k.record("kiwi", 0)))
		k.off = 24 * time.Hour
		k.pass(time.Hour) // the start takes that long
		k.r.BeginExpiry(k.now)
		k.pass(clockAlone + 3*time.Second)
		k.expect(name, false, 0, 1)
		k.pass(removeAlone - clockAlone - 4*time.Second)
		k.expect(name+": just before the end", false, 0, 1)
		if floor := k.r.Expiry().Floor; floor != 0 {
			t.Errorf("%s: the floor is %d, want none", name, floor)
		}
		k.pass(clockAlone + 4*time.Second)
		k.expect(name+": later", false, 0, 0)
		if !slices.Equal(k.reports, []string{said}) {
			t.Errorf("%s: reported %q, want %q", name, k.reports, said)
		}
	}
}

// TestAloneAfterJump: a herd of one whose clock has jumped removes nothing for removeAlone after it trusts the clock again.
func TestAloneAfterJump(t *testing.T) {
	k := newKept(t).begin()
	k.pass(removeAlone)
	k.report("kiwi")
	k.off = 24 * time.Hour
	k.pass(testKeep + removeAlone - 5*time.Second)
	k.expect("before the end", false, 0, 1)
	k.pass(10 * time.Second)
	k.expect("after it", false, 0, 0)
}

// TestNeighbourEndsWaiting: a neighbour whose clock agrees ends the time in which a server removes nothing.
func TestNeighbourEndsWaiting(t *testing.T) {
	k := newKept(t, "B")
	k.silent = true
	k.r.Replay([]byte(k.record("kiwi", 2*testKeep)))
	k.r.BeginExpiry(k.now)
	k.pass(time.Minute)
	k.expect("alone", false, 0, 1)
	k.silent = false
	k.pass(5 * time.Second)
	k.expect("with a neighbour", false, 0, 0)
}

// TestReportsAfterSetBack: when our clock was ahead and is set back, reports are stored at once, before the next tick, too, and their
// clients are known.
func TestReportsAfterSetBack(t *testing.T) {
	for _, peers := range [][]string{nil, {"B"}} {
		for _, ahead := range []time.Duration{testKeep + time.Minute, 2 * time.Hour} { // below the cutoff, and below the floor
			k := newKept(t, peers...)
			k.off, k.skew = ahead, ahead
			k.r.BeginExpiry(k.now)
			k.pass(removeAlone + time.Minute)
			k.off, k.skew = 0, 0
			k.now = k.now.Add(300 * time.Millisecond)
			for i := range 10 {
				client := fmt.Sprint("kiwi", i)
				c := wire.ParseCommand(fmt.Appendf(nil, "IAMAT %s +1+1 %d", client, k.now.Unix()))
				if line, news, err := k.r.IAmAt(nil, c, k.now); err != nil || !news || !k.knows(client) {
					t.Errorf("with neighbours %q, %v ahead, report %d: %q, %v, known: %v", peers, ahead, i, line, err, k.knows(client))
				}
				k.pass(time.Second)
			}
		}
	}
}

// TestFiledByClockAhead: a client that was filed while our clock was ahead expires in time.
func TestFiledByClockAhead(t *testing.T) {
	k := newKept(t, "B").begin()
	k.off, k.skew = 24*time.Hour, 24*time.Hour // both clocks are set forward
	k.pass(2 * time.Second)
	for i := range 3 {
		k.frame(fmt.Sprintf("AT B +86400.000000000 kiwi%d +1+1 %d", i, k.now.Unix()))
	}
	k.off, k.skew = 0, 0 // and back, before the servers trust them
	k.pass(10 * time.Second)
	for i := range 3 {
		k.frame(k.record(fmt.Sprint("kiwi", i), 0))
	}
	k.pass(testKeep + 5*time.Second)
	if known, held := k.r.Map().Known(), k.r.Map().Len(); known != 0 || held != 3 {
		t.Errorf("after their time %d are known and %d held, want none and 3", known, held)
	}
	k.pass(expiryGrace + 2*time.Minute)
	if held := k.r.Map().Len(); held != 0 {
		t.Errorf("%d are held, and should have been removed", held)
	}
}
