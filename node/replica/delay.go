package replica

import "time"

// ForwardTick is the interval at which ForwardTicked is to be called while Delaying.
const ForwardTick = 25 * time.Millisecond

// The delay in ticks. A record may wait for one tick more. Of two neighbours that delay
// for each other, the one whose name sorts later waits longer, and so hears from the
// other first.
const (
	shortDelay = 4
	longDelay  = 8
)

// delayQueue implements delayed forwarding in triangles. When A sends a record to its
// neighbours B and C, and B and C are neighbours too, B expects that C has the record
// already. If both forwarded at once, each record would cross the edge B-C twice for
// nothing. So B delays the record for C, and drops it when C sends it first. The other
// way round C does the same.
//
// A wrong guess costs only time: after the delay the record is sent. The delay starts
// with the first delayed record of a client; a newer one takes its place.
//
// Without it an update takes 1.11 to 1.15 times the CPU at full load (node/DESIGN.md, "Techniques").
type delayQueue struct {
	queue outbox
	// ends holds where the queue ended at each of the last ticks, the oldest first: all
	// before ends[0] has waited long enough.
	ends []uint64
}

func newDelayQueue(long bool) delayQueue {
	if long {
		return delayQueue{ends: make([]uint64, longDelay)}
	}
	return delayQueue{ends: make([]uint64, shortDelay)}
}

// tick moves what has waited long enough to another outbox.
func (q *delayQueue) tick(into *outbox) (moved int) {
	moved = q.queue.moveTo(into, q.ends[0])
	copy(q.ends, q.ends[1:])
	q.ends[len(q.ends)-1] = q.queue.end()
	return moved
}

// Delaying reports whether any record is delayed.
func (r *Replica) Delaying() bool {
	for _, d := range r.edges {
		if d.delayed.queue.length > 0 {
			return true
		}
	}
	return false
}

// ForwardTicked makes live what has been delayed for long enough.
func (r *Replica) ForwardTicked() {
	for _, d := range r.edges {
		if d.delayed.tick(&d.live) > 0 {
			r.floodSeq++
		}
	}
}

// StopDelaying makes live all that is delayed, and delays nothing from now on: a server
// that stops has no time to wait.
func (r *Replica) StopDelaying() {
	r.delayOff = true
	for _, d := range r.edges {
		if d.delayed.queue.moveTo(&d.live, d.delayed.queue.end()) > 0 {
			r.floodSeq++
		}
	}
}

// alsoReceives reports whether the neighbour at edge e is expected to receive what the
// neighbour at edge from sent us: they have an edge with each other, by our topology, and
// both are up and say that they have the same one.
func (r *Replica) alsoReceives(e, from int) bool {
	return !r.delayOff && r.adjacent[from][e] && r.edges[e].sharesTopology(r.topology.Hash) && r.edges[from].sharesTopology(r.topology.Hash)
}

func (d *edge) sharesTopology(hash uint64) bool { return d.up && d.heartbeat.Topology == hash }
