package replica

import (
	"fmt"
	"time"

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
// comparison runs at a time, with one neighbour. What becomes due meanwhile runs once,
// afterwards.

const (
	// silence is how long a reply may pause before the comparison is given up, to be
	// tried again a little later.
	silence = 2 * time.Second
	// firstBackoff is the first delay after a comparison that was started for unequal
	// digests and brought nothing. Each further one doubles it, up to Config.Repair.
	firstBackoff = time.Second
	// GreetingTimeout is how long a neighbour has to answer our first heartbeat before
	// Ready takes it for down. A neighbour that is not ready itself delays Ready for
	// unreadyTimeout at most.
	GreetingTimeout = 500 * time.Millisecond
	unreadyTimeout  = 3 * time.Second
)

// The reasons for a comparison that make a difference to what follows it.
const (
	cameUp        = "it came up"
	messagesLost  = "messages were lost"
	digestsDiffer = "digests stayed different"
	scheduled     = "it is scheduled"
	hasMoreThanWe = "it has records that we do not have"
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

	ours, theirs uint64 // the digests at the last heartbeat at which they differed
}

// schedule makes a comparison due at some time, unless one is due before it.
func (s *syncState) schedule(at time.Time, reason string) {
	if s.due.IsZero() || at.Before(s.due) {
		s.due, s.reason = at, reason
	}
}

// InStep reports whether our map holds all that the neighbour at edge e had at some
// moment since it came up, and all its messages up to then: the digests were equal, or a
// comparison has ended.
func (r *Replica) InStep(e int) bool { return r.edges[e].up && r.edges[e].sync.inStep }

// Comparing reports whether a comparison with the neighbour at edge e runs.
func (r *Replica) Comparing(e int) bool { return r.comparison != nil && r.comparison.edge == e }

// Ready reports whether a server that sent its first heartbeats at greeted is in step
// with all neighbours that are up. With repair off it always is.
func (r *Replica) Ready(now, greeted time.Time) bool {
	if r.cfg.Repair == 0 {
		return true
	}
	waited := now.Sub(greeted)
	for _, d := range r.edges {
		theyAreReady := d.heartbeat.Ready
		switch {
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
	*s = syncState{}
	if r.cfg.Repair > 0 {
		s.latest = r.nextScheduled(now)
		s.schedule(now, cameUp)
	}
}

// stopSync ends the comparison with the neighbour at edge e, if it runs, and makes none
// due.
func (r *Replica) stopSync(e int) {
	r.edges[e].sync = syncState{}
	if r.Comparing(e) {
		r.abandon()
	}
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
	if r.cfg.Repair == 0 {
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
		events = append(events, Event{Gap, d.peer, fmt.Sprintf(
			"%d messages of %s were lost, the last before number %d", r.Count, d.peer, d.in.seen.Seq)})
	}
	return events
}

// Lost says that an unknown number of messages on edge e was lost: a comparison is due.
func (r *Replica) Lost(e int, now time.Time) {
	if r.cfg.Repair == 0 || !r.edges[e].up {
		return
	}
	s := &r.edges[e].sync
	s.inStep, s.equal, s.synced = false, false, false
	s.schedule(now, messagesLost)
	if r.Comparing(e) {
		r.comparison.lossy = true
	}
}

// compareDigests compares the digest in the heartbeat that has just arrived with ours.
// previous is the heartbeat before it.
func (r *Replica) compareDigests(e int, previous wire.Heartbeat, now time.Time) {
	if r.cfg.Repair == 0 {
		return
	}
	d := r.edges[e]
	s := &d.sync
	ours, theirs := r.store.Digest(), d.heartbeat.Digest
	s.equal = ours == theirs
	switch {
	case s.equal:
		s.inStep, s.due, s.backoff = true, time.Time{}, 0
		d.in.repaired()
	case ours == s.ours && theirs == s.theirs && previous.Epoch == d.heartbeat.Epoch: // neither has changed, and they differ
		s.schedule(now.Add(s.backoff), digestsDiffer)
	}
	s.ours, s.theirs = ours, theirs
	if !now.Before(s.latest) {
		s.latest = r.nextScheduled(now)
		s.schedule(now, scheduled)
	}
}

// dueEdge is the edge whose comparison has been due for longest; -1 for none.
func (r *Replica) dueEdge(now time.Time) int {
	best := -1
	for i := range r.edges {
		due := r.edges[i].sync.due
		if r.edges[i].up && !due.IsZero() && !now.Before(due) && (best < 0 || due.Before(r.edges[best].sync.due)) {
			best = i
		}
	}
	return best
}

// neighbourHasMore says that the neighbour at edge e has records that we do not have.
func (r *Replica) neighbourHasMore(e int, now time.Time) {
	if r.edges[e].up {
		r.edges[e].sync.schedule(now, hasMoreThanWe)
	}
}
