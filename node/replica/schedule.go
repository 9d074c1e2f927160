package replica

import (
	"fmt"
	"time"

	"herd/bus/plural"
	"herd/node/wire"
)

// Repair makes two maps equal again after anything was lost between them. Each server
// compares its map with a neighbour's by digests and asks for the records that it does
// not have (wire/sync.go has the messages). The cost follows the difference, not the map.
// A comparison brings records to the side that asks. Both sides ask, so both maps become
// equal.
//
// A comparison is due when a neighbour comes up, when messages of it were lost, when its
// digest stays different on an edge where nothing changes, and at regular intervals. One
// comparison runs at a time on each edge. What becomes due meanwhile runs once, afterwards.
// A neighbour that has repair off is not compared with.

const (
	// firstBackoff is the first delay after a comparison that brought nothing. Each
	// further one doubles it, up to Config.Repair.
	firstBackoff = time.Second
	// GreetingTimeout is how long a neighbour has to answer our first heartbeat before
	// Ready takes it for down. A neighbour that is not ready itself delays Ready for
	// unreadyTimeout at most.
	GreetingTimeout = 500 * time.Millisecond
	unreadyTimeout  = 3 * time.Second
	// fruitlessTries is how many comparisons with a neighbour must be given up one after
	// the other, for lack of anything new, until Ready does not wait for it any more.
	fruitlessTries = 2
)

// The reasons for a comparison that make a difference to what follows it.
const (
	cameUp        = "it came up"
	messagesLost  = "messages were lost"
	digestsDiffer = "digests stayed different"
	scheduled     = "it is scheduled"
	hasMoreThanWe = "it has records that we do not have"
	roomInMap     = "our map has room again"
)

// syncState is what an edge knows about the difference between the two maps.
type syncState struct {
	inStep bool // see InStep
	synced bool // a comparison has ended in step since the neighbour came up or messages were lost
	equal  bool // the digests were equal at the last heartbeat

	due     time.Time // when to compare; zero for no reason to
	reason  string    // for due
	latest  time.Time // when to compare at the latest
	backoff time.Duration
	// fruitless is how many comparisons were given up since the last one that ended or
	// brought anything.
	fruitless int

	ours, theirs uint64 // the digests at the last heartbeat at which they differed
}

// backOff doubles the delay of the next comparison.
func (r *Replica) backOff(s *syncState) {
	s.backoff = min(max(2*s.backoff, firstBackoff), r.cfg.Repair)
}

// repairs reports whether we and the neighbour at edge e compare maps.
func (r *Replica) repairs(e int) bool { return r.cfg.Repair > 0 && !r.edges[e].heartbeat.NoRepair }

// schedule makes a comparison due at some time, unless one is due before it.
func (s *syncState) schedule(at time.Time, reason string) {
	if s.due.IsZero() || at.Before(s.due) {
		s.due, s.reason = at, reason
	}
}

// soonest is when a comparison may begin that is due now: while our map is full, later.
func (r *Replica) soonest(now time.Time) time.Time {
	if r.full {
		return now.Add(r.cfg.Repair)
	}
	return now
}

// InStep reports whether our map holds all that the neighbour at edge e had at some
// moment since it came up, and all its messages up to then: the digests were equal, or a
// comparison has ended.
// While our map is full, it is not so.
func (r *Replica) InStep(e int) bool { return r.edges[e].up && r.edges[e].sync.inStep && !r.full }

// Comparing reports whether a comparison with the neighbour at edge e runs.
func (r *Replica) Comparing(e int) bool { return r.edges[e].comparison != nil }

// Ready reports whether a server that sent its first heartbeats at greeted is in step
// with all neighbours that are up. With repair off it always is. It waits for no neighbour
// that has repair off, or whose replies have brought nothing new for a while.
func (r *Replica) Ready(now, greeted time.Time) bool {
	if r.cfg.Repair == 0 {
		return true
	}
	waited := now.Sub(greeted)
	for e, d := range r.edges {
		theyAreReady := d.heartbeat.Ready
		switch {
		case d.removed, !r.repairs(e), d.sync.fruitless >= fruitlessTries:
			continue
		case d.quarantined(now):
			continue
		case !d.up && waited < GreetingTimeout,
			d.up && !d.sync.inStep && (theyAreReady || waited < unreadyTimeout),
			d.up && !theyAreReady && !d.sync.equal && waited < unreadyTimeout:
			return false
		}
	}
	return true
}

// startSync makes the first comparison due on an edge that came up.
func (r *Replica) startSync(e int, now time.Time) {
	s := &r.edges[e].sync
	*s = syncState{fruitless: s.fruitless}
	if r.repairs(e) {
		s.latest = r.nextScheduled(now)
		s.schedule(r.soonest(now), cameUp)
	}
}

// stopSync ends the comparison with the neighbour at edge e, if it runs, and makes none
// due.
func (r *Replica) stopSync(e int) {
	d := r.edges[e]
	if d.comparison != nil {
		d.comparison = nil
		d.counts.Abandoned++
	}
	d.sync = syncState{fruitless: d.sync.fruitless}
}

// nextScheduled is Config.Repair from now, plus or minus a quarter, so that neighbours do
// not keep comparing at the same time.
func (r *Replica) nextScheduled(now time.Time) time.Time {
	jitter := 0.75 + r.rng.Float64()/2
	return now.Add(time.Duration(jitter * float64(r.cfg.Repair)))
}

// noteLoss makes a comparison due if messages were lost.
func (r *Replica) noteLoss(e int, lost uint64, now time.Time) []Event {
	if lost == 0 {
		return nil
	}
	d := r.edges[e]
	if !r.repairs(e) {
		d.in.repaired() // they will never arrive
	}
	r.Lost(e, now)
	d.loss.Note("", "", int(lost))
	d.counts.Lost += lost
	return d.reportLoss(now)
}

// reportLoss reports lost messages: at once, and then once a second with their number.
func (d *edge) reportLoss(now time.Time) (events []Event) {
	for _, r := range d.loss.Due(now) {
		events = append(events, Event{Kind: Gap, Peer: d.peer, Text: fmt.Sprintf(
			"%s of %s %s lost, the last before number %d", plural.Count(r.Count, "message"), d.peer, plural.Form(r.Count, "was", "were"), d.in.seen.Seq)})
	}
	return events
}

// Lost says that an unknown number of messages on edge e was lost: a comparison is due.
func (r *Replica) Lost(e int, now time.Time) {
	d := r.edges[e]
	if !d.up {
		return
	}
	s := &d.sync
	s.inStep, s.equal, s.synced = false, false, false
	if d.comparison != nil {
		d.comparison.lossy = true
	}
	if r.repairs(e) {
		s.schedule(r.soonest(now), messagesLost)
	}
}

// compareDigests compares the digest in the heartbeat that has just arrived with ours.
// previous is the heartbeat before it.
func (r *Replica) compareDigests(e int, previous wire.Heartbeat, now time.Time) {
	d := r.edges[e]
	s := &d.sync
	ours, theirs := r.store.Digest(), d.heartbeat.Digest
	s.equal = ours == theirs
	switch {
	case s.equal:
		s.inStep, s.due, s.backoff, s.fruitless = true, time.Time{}, 0, 0
		d.in.repaired()
		d.unsendable.clear()
		d.deferred.clear()
	case !r.repairs(e):
	case d.heartbeat.Floor != r.keep.floor: // records that only one of the two still has may be all the difference
	case ours == s.ours && theirs == s.theirs && previous.Epoch == d.heartbeat.Epoch: // neither has changed, and they differ
		s.schedule(r.soonest(now).Add(s.backoff), digestsDiffer)
	}
	s.ours, s.theirs = ours, theirs
	if r.repairs(e) && !now.Before(s.latest) {
		s.latest = r.nextScheduled(now)
		s.schedule(now, scheduled)
	}
}

// dueEdge is the edge whose comparison has been due for longest, and does not run; -1 for
// none.
func (r *Replica) dueEdge(now time.Time) int {
	best := -1
	for e, d := range r.edges {
		due := d.sync.due
		if d.up && d.comparison == nil && !due.IsZero() && !now.Before(due) && (best < 0 || due.Before(r.edges[best].sync.due)) {
			best = e
		}
	}
	return best
}

// neighbourHasMore says that the neighbour at edge e has records that we do not have.
func (r *Replica) neighbourHasMore(e int, now time.Time) {
	if r.edges[e].up && r.repairs(e) {
		r.edges[e].sync.schedule(r.soonest(now), hasMoreThanWe)
	}
}
