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
)

// clockTrust is whether our clock was seen to be right since the start, or since it last jumped.
type clockTrust struct {
	trusted bool
	jumped  bool // since it was last trusted
	since   time.Time

	seen time.Time    // the last look at it
	wall wire.Instant // what it showed then
}

const (
	// clockAlone is how long a server that has started waits for a neighbour to compare its clock with, after it is
	// ready.
	clockAlone = 10 * time.Second
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

// judgeTrust notices that our clock has jumped, and that it is right: three heartbeats of a neighbour in turn agree
// with it. A server that has no neighbours trusts its clock, and one that has jumped after Config.Keep. A server that has
// just started, and finds no neighbour, trusts it after clockAlone.
func (r *Replica) judgeTrust(now time.Time) {
	t := &r.keep.trust
	if r.jump(now).Abs() > clockJump {
		t.trusted, t.jumped, t.since = false, true, now
		for _, d := range r.edges {
			d.clock.agreeing = 0
		}
	}
	t.seen, t.wall = now, r.wall(now)
	if t.trusted {
		return
	}
	neighbours, up, agrees := false, false, false
	for _, d := range r.edges {
		neighbours = neighbours || !d.removed
		up = up || d.up
		agrees = agrees || d.up && d.clock.agreeing >= clockSamples
	}
	waited := now.Sub(t.since)
	switch {
	case agrees,
		!neighbours && (!t.jumped || waited >= r.cfg.Keep),
		neighbours && !up && !t.jumped && waited >= clockAlone && !r.keep.ready.IsZero():
		t.trusted = true
	}
}

func (r *Replica) findPause() pause {
	k := &r.keep
	switch {
	case k.ready.IsZero():
		return notReady
	case !k.trust.trusted && k.trust.jumped:
		return clockJumped
	case !k.trust.trusted:
		return notCompared
	case r.ClockProblem() != "":
		return clockUnusable
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
		return Event{Clock, "", "records expire again"}, true
	}
	return Event{Clock, "", "records do not expire: " + r.ExpiryPaused()}, true
}

// ExpiryPaused says why no record expires; "" if records do, or never shall.
func (r *Replica) ExpiryPaused() string {
	switch r.keep.pause {
	case notReady:
		return "the server is not ready yet"
	case notCompared:
		return fmt.Sprintf("the clock of %s, ours, agrees with no neighbour's yet", r.cfg.Name)
	case clockJumped:
		return fmt.Sprintf("the clock of %s, ours, has jumped, and agrees with no neighbour's since", r.cfg.Name)
	case clockUnusable:
		if problem := r.ClockProblem(); problem != "" {
			return problem
		}
		return fmt.Sprintf("the clock of %s, ours, was off a moment ago", r.cfg.Name)
	}
	return ""
}
