package replica

import (
	"slices"
	"strings"
	"testing"
	"time"
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
	if want := []string{"records do not expire: the clock of A, ours, has jumped, and agrees with no neighbour's since", "records expire again"}; !slices.Equal(k.reports, want) {
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
	k.expect("its clock is wrong", false, 0, 0)
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
	if want := []string{"records do not expire: the clock of A, ours, agrees with no neighbour's yet"}; !slices.Equal(k.reports, want) {
		t.Errorf("reported %q, want %q", k.reports, want)
	}
	k.skew = 0
	k.pass(10 * time.Second)
	if len(k.reports) != 2 || k.reports[1] != "records expire again" {
		t.Errorf("reported %q, want that records expire again", k.reports)
	}
}
