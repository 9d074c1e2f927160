package replica

import (
	"fmt"
	"time"

	"herd/node/wire"
)

// pause is why nothing expires.
type pause uint8

const (
	notPaused     pause = iota
	notReady            // the map is not complete yet
	notCompared         // since the start our clock was not compared with a neighbour's
	clockJumped         // nor since it jumped
	clockUnusable       // see ClockProblem
	clockDisputed       // it agreed with a neighbour's before
)

// clockTrust is whether our clock was seen to be right since the start, since it last jumped, and since it last differed
// from all neighbours' clocks.
type clockTrust struct {
	trusted  bool
	jumped   bool      // since it was last trusted
	disputed bool      // since then it differed from all neighbours' clocks, or from most
	since    time.Time // of the last of these, or of the start
	alone    time.Time // when it was trusted although no neighbour's clock agreed with it; zero if one has agreed since

	seen time.Time    // the last look at it
	wall wire.Instant // what it showed then
}

const (
	// clockAlone is how long a server that has started waits for a neighbour to compare its clock with, after it is
	// ready.
	clockAlone = 10 * time.Second
	// removeAlone is for how long a server removes nothing once it trusts a clock that agrees with no neighbour's.
	// Meanwhile a person can set the clock, and restart the server.
	removeAlone = 10 * time.Minute
	// clockJump is a difference between the clock and the time that has passed.
	clockJump = clockUnready
)

// jump is by how much our clock has moved, since the last look at it, more than time has passed.
func (r *Replica) jump(now time.Time) time.Duration {
	t := &r.keep.trust
	if t.seen.IsZero() {
		return 0
	}
	return r.wall(now).Sub(t.wall).Duration() - now.Sub(t.seen)
}

// judgeTrust notices that our clock has jumped, that it differs from the neighbours' clocks, and that it is right: three
// heartbeats of a neighbour in turn agree with it. A server that has just started, and finds no neighbour, trusts its clock after
// clockAlone. One that has no neighbours trusts it at the start at once, and otherwise after Config.Keep.
func (r *Replica) judgeTrust(now time.Time) (events []Event) {
	t := &r.keep.trust
	if r.jump(now).Abs() > clockJump {
		t.trusted, t.jumped, t.since = false, true, now
		for _, d := range r.edges {
			d.clock.agreeing = 0
		}
	}
	r.noteSetBack(now)
	t.seen, t.wall = now, r.wall(now)
	if v := r.judgeClocks(noEdge); len(v.differing) > 0 && (v.Agree == 0 || v.oursIsOff()) {
		t.trusted, t.disputed, t.since = false, true, now
		r.lowerCutoff(v.differing)
		return nil
	}
	neighbours, up, agrees := false, false, false
	for _, d := range r.edges {
		neighbours = neighbours || !d.removed
		up = up || d.up
		agrees = agrees || d.up && d.clock.agreeing >= clockSamples
	}
	asAtStart := !t.jumped && !t.disputed
	waited := now.Sub(t.since)
	switch {
	case agrees:
		t.trusted, t.alone = true, time.Time{}
	case t.trusted, r.keep.ready.IsZero():
	case !neighbours && (asAtStart || waited >= r.cfg.Keep),
		neighbours && !up && asAtStart && waited >= clockAlone:
		t.trusted, t.alone = true, now
		events = append(events, Event{Kind: Clock, Text: fmt.Sprintf("%s was compared with no neighbour's: records that expire stay in the map for %s", r.ourClock(), removeAlone)})
	}
	return events
}

// noteSetBack lowers cutoff and floor to what our clock shows now, if it was set back: records that we receive now are neither
// expired nor stale.
func (r *Replica) noteSetBack(now time.Time) {
	k := &r.keep
	if cutoff := r.wall(now).Sub(k.keep); k.begun && r.jump(now) < -clockJump && cutoff.Compare(k.cutoff) < 0 {
		k.cutoff = cutoff
		r.setFloor(min(k.floor, k.slotOf(cutoff.Sec-k.grace)))
	}
}

// mayRemove reports whether the floor may rise. It does not for a while if nobody confirms that our clock is right.
func (t *clockTrust) mayRemove(now time.Time) bool {
	return t.alone.IsZero() || now.Sub(t.alone) >= removeAlone
}

func (r *Replica) findPause() pause {
	k := &r.keep
	switch {
	case k.ready.IsZero():
		return notReady
	case !k.trust.trusted && k.trust.jumped:
		return clockJumped
	case !k.trust.trusted && !k.begun:
		return notCompared
	case r.ClockProblem() != "":
		return clockUnusable
	case !k.trust.trusted:
		return clockDisputed
	}
	return notPaused
}

// reportPause reports that records do not expire because of our clock, and that they do again. At the start that takes
// some heartbeats.
func (r *Replica) reportPause(now time.Time) (e Event, changed bool) {
	k := &r.keep
	switch {
	case k.pause == k.reported, k.pause == notReady:
		return Event{}, false
	case k.pause == notCompared && now.Sub(k.ready) < clockAlone:
		return Event{}, false
	case k.pause == notPaused && k.reported == notReady: // as it should be
		k.reported = notPaused
		return Event{}, false
	}
	k.reported = k.pause
	if k.pause == notPaused {
		return Event{Kind: Clock, Text: "records expire again", Recovered: true}, true
	}
	return Event{Kind: Clock, Text: "records do not expire: " + r.ExpiryPaused()}, true
}

// ExpiryPaused says why no record expires; "" if records do, or never shall.
func (r *Replica) ExpiryPaused() string {
	switch r.keep.pause {
	case notReady:
		return "the server is not ready yet"
	case notCompared:
		return r.ourClock() + " agrees with no neighbour's yet"
	case clockJumped:
		return r.ourClock() + " has jumped, and agrees with no neighbour's since"
	case clockDisputed:
		return r.ourClock() + " agrees with no neighbour's any more"
	case clockUnusable:
		if problem := r.ClockProblem(); problem != "" {
			return problem
		}
		return r.ourClock() + " was off a moment ago"
	}
	return ""
}
