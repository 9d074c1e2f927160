package replica

import "time"

// Moment is how often Turn is to be called while Presuming.
const Moment = 100 * time.Millisecond

// patience is how many moments the patient one of two neighbours waits where the
// other waits one: enough to hear from it first.
const patience = 2

// presumed is the clients whose newest record a neighbour presumably has, because
// whoever told us is the neighbour's neighbour too, and tells both at once. If we
// both told each other at once as well, each record would cross the third edge of a
// triangle twice, for nothing.
//
// No more than a delay hangs on the presumption: if the neighbour does not show that
// it has the record by telling us, we tell it, one to two moments later; the other end
// of the edge is patient, and takes three times as long, so that one of us tells the
// other and not both. Of what is news again meanwhile only the newest is told.
type presumed struct {
	young, old outbox // since the last turn, and since the one before
	patient    bool
	turns      int
}

// add presumes that the neighbour has the record of id.
func (p *presumed) add(id ID) {
	if !p.old.wanted.has(id) {
		p.young.want(id)
	}
}

// drop ends what is presumed of id, and returns whether anything was.
func (p *presumed) drop(id ID) bool { return p.young.drop(id) || p.old.drop(id) }

// length is of how many clients something is presumed.
func (p *presumed) length() int { return p.young.length + p.old.length }

// turn puts into out what has been presumed for long enough.
func (p *presumed) turn(out *outbox) {
	if p.turns++; p.patient && p.turns%patience != 0 {
		return
	}
	p.old.empty(out)
	p.young, p.old = p.old, p.young
}

// end puts into out all that is presumed.
func (p *presumed) end(out *outbox) {
	p.old.empty(out)
	p.young.empty(out)
}

// Presuming tells whether some neighbour is presumed to have what we have not told it.
func (r *Replica) Presuming() bool {
	for e := range r.edges {
		if r.edges[e].presumed.length() > 0 {
			return true
		}
	}
	return false
}

// Turn marks as wanted what neighbours have been presumed to have for long enough.
func (r *Replica) Turn() {
	for e := range r.edges {
		r.edges[e].presumed.turn(&r.edges[e].out)
	}
}

// PresumeNothing marks as wanted all that is presumed, and lets nothing be from now on:
// a server that stops has no time to find out.
func (r *Replica) PresumeNothing() {
	r.doubts = true
	for e := range r.edges {
		r.edges[e].presumed.end(&r.edges[e].out)
	}
}

// presume tells whether the neighbour at edge e is to be presumed to have what the one
// at edge from told us.
func (r *Replica) presume(e, from int) bool {
	return !r.doubts && from != fromClient && r.beside[from][e] && r.edges[e].up
}
