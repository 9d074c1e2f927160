package replica

import "time"

// Moment is how often MomentPassed is to be called while Presuming.
const Moment = 25 * time.Millisecond

// How many moments, and up to one more, we presume that a neighbour has what it has
// not shown to have. Of two neighbours one is the patient one, which will have heard
// from the other by then.
const (
	soon = 4
	late = 8
)

// presumed is the clients whose newest record a neighbour presumably has, because
// whoever told us is the neighbour's neighbour too, and tells both at once. If we
// both told each other at once as well, each record would cross the third edge of a
// triangle twice, for nothing.
//
// No more than a delay hangs on the presumption: what the neighbour does not show to
// have, by telling us, we tell it after a while, counted from when something was first
// presumed of the client. Of what is news again meanwhile only the newest is told.
type presumed struct {
	waiting outbox   // for the moments to pass
	ends    []uint64 // where it ended at each of the last ones, the first of them first
}

func newPresumed(patient bool) presumed {
	if patient {
		return presumed{ends: make([]uint64, late)}
	}
	return presumed{ends: make([]uint64, soon)}
}

// momentPassed puts into out what has been presumed for long enough.
func (p *presumed) momentPassed(out *outbox) (moved int) {
	moved = p.waiting.move(p.ends[0], out)
	copy(p.ends, p.ends[1:])
	p.ends[len(p.ends)-1] = p.waiting.end()
	return moved
}

// stop puts into out all that is presumed.
func (p *presumed) stop(out *outbox) (moved int) { return p.waiting.move(p.waiting.end(), out) }

// Presuming tells whether some neighbour is presumed to have what we have not told it.
func (r *Replica) Presuming() bool {
	for e := range r.edges {
		if r.edges[e].presumed.waiting.length > 0 {
			return true
		}
	}
	return false
}

// MomentPassed marks as wanted what neighbours have been presumed to have for long
// enough.
func (r *Replica) MomentPassed() {
	for e := range r.edges {
		if d := &r.edges[e]; d.presumed.momentPassed(&d.out) > 0 {
			r.wants++
		}
	}
}

// PresumeNothing marks as wanted all that is presumed, and lets nothing be from now on:
// a server that stops has no time to find out.
func (r *Replica) PresumeNothing() {
	r.presumesNothing = true
	for e := range r.edges {
		if d := &r.edges[e]; d.presumed.stop(&d.out) > 0 {
			r.wants++
		}
	}
}

// alsoTold tells whether the neighbour at edge e presumably has what the one at edge
// from told us.
func (r *Replica) alsoTold(e, from int) bool {
	return !r.presumesNothing && r.beside[from][e] && r.edges[e].up
}
