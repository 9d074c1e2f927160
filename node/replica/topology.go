package replica

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"herd/node/wire"
)

// Topology is what a server knows of the graph.
type Topology struct {
	Neighbours []string
	// Adjacent reports whether the graph has an edge between two servers. Nil turns
	// delayed forwarding off.
	Adjacent func(a, b string) bool
	Hash     uint64 // of the graph. A neighbour with another one is reported, see EdgeInfo.Problem
}

// Topology is the one of New or of the last SetTopology.
func (r *Replica) Topology() Topology { return r.topology }

// Edges is the number of edges, those that were removed included: they are numbered from
// 0, in the order in which their neighbours were first listed.
func (r *Replica) Edges() int { return len(r.edges) }

// Peer is the neighbour at edge e; "" if the edge was removed.
func (r *Replica) Peer(e int) string {
	if d := r.edges[e]; !d.removed {
		return d.peer
	}
	return ""
}

// EdgeTo is the edge to a neighbour. ok is false if the topology lists none.
func (r *Replica) EdgeTo(peer string) (e int, ok bool) {
	e, ok = r.edgeTo[peer]
	return e, ok && !r.edges[e].removed
}

// SetTopology replaces the topology. Edges to neighbours that it does not list are
// removed: their queues are dropped, and a comparison with them ends. New edges are down
// until the neighbour's heartbeat arrives, and then begin with a comparison, which brings
// all that was merged before. The edges to other neighbours go on, with their numbers.
//
// The number of a removed edge is kept for its neighbour, with the sequence numbers of
// both sides: should the edge come back, a number that was used must not be used again.
func (r *Replica) SetTopology(t Topology, now time.Time) (events []Event) {
	r.topology = t
	for e, d := range r.edges {
		if !d.removed && !slices.Contains(t.Neighbours, d.peer) {
			events = append(events, d.limited(r.goDown(e, "the topology no longer has this edge"), now)...)
			d.remove()
		}
	}
	for _, peer := range t.Neighbours {
		e, known := r.edgeTo[peer]
		if !known {
			e = len(r.edges)
			r.edgeTo[peer] = e
			r.edges = append(r.edges, &edge{peer: peer, delayed: newDelayQueue(r.cfg.Name > peer)})
		}
		r.edges[e].removed = false
	}
	r.adjacent = make([][]bool, len(r.edges))
	for i, a := range r.edges {
		r.adjacent[i] = make([]bool, len(r.edges))
		for j, b := range r.edges {
			r.adjacent[i][j] = !a.removed && !b.removed && t.Adjacent != nil && t.Adjacent(a.peer, b.peer)
		}
	}
	return events
}

// remove forgets what was queued for the neighbour and what it said last. The edge is
// down.
func (d *edge) remove() {
	d.removed = true
	d.forget()
	d.unsendable.clear()
	d.deferred.clear()
	d.full = false
	d.heartbeat, d.heard = wire.Heartbeat{}, time.Time{}
	d.confirmed, d.goodbye, d.difference = wire.Mark{}, goodbye{}, difference{}
	d.clock = neighbourClock{}
}

// forget drops everything that is queued for the neighbour.
func (d *edge) forget() {
	d.live.dropAll()
	d.backlog.dropAll()
	d.delayed.queue.dropAll()
	clear(d.inFlight.retry)
}

// difference is how a neighbour differs from us, by its last heartbeat. The zero
// difference is none.
type difference struct {
	format       int // the neighbour's, if it is not ours
	noEdge       bool
	quarantined  bool // the neighbour ignores us
	otherGraph   bool
	theirs, ours uint64 // hashes of the graphs, if otherGraph
	repair       bool   // repair is off at one of us
	keep         bool   // the neighbour keeps records for another time
	keepsFor     int64  // that time in seconds, if keep; 0: records do not expire
	weKeepFor    int64
}

func (r *Replica) differenceTo(b wire.Heartbeat) (f difference) {
	switch {
	case b.Format != wire.Format: // nothing else that it says is to be relied on
		return difference{format: b.Format}
	case b.NoEdge:
		return difference{noEdge: true}
	case b.Quarantined:
		return difference{quarantined: true}
	}
	f.repair = b.NoRepair != (r.cfg.Repair == 0)
	if f.keep = b.Keep != r.keepSeconds(); f.keep {
		f.keepsFor, f.weKeepFor = b.Keep, r.keepSeconds()
	}
	if f.otherGraph = b.Topology != r.topology.Hash; f.otherGraph {
		f.theirs, f.ours = b.Topology, r.topology.Hash
	}
	return f
}

// unusable says that the edge cannot be used.
func (f difference) unusable() bool { return f.refused() || f.quarantined }

// refused says that the edge cannot be used because the two servers do not agree on it:
// EdgeInfo.Refused.
func (f difference) refused() bool { return f.noEdge || f.format != 0 }

// problem describes the difference in one line; "" if there is none.
func (d *edge) problem() string {
	f := d.difference
	switch {
	case f.format != 0:
		return fmt.Sprintf("%s has format %d, ours is %d", d.peer, f.format, wire.Format)
	case f.noEdge:
		return fmt.Sprintf("%s does not list an edge with us", d.peer)
	case f.quarantined:
		return fmt.Sprintf("%s ignores us for a while: it says that our messages broke the protocol", d.peer)
	}
	var problems []string
	if f.otherGraph {
		problems = append(problems, d.otherGraph())
	}
	if f.repair {
		problems = append(problems, d.otherRepair())
	}
	if f.keep {
		problems = append(problems, d.otherKeep())
	}
	return strings.Join(problems, "; ")
}

func (d *edge) otherGraph() string {
	return fmt.Sprintf("%s has another topology: %016x, ours is %016x", d.peer, d.difference.theirs, d.difference.ours)
}

func (d *edge) otherRepair() string {
	if d.heartbeat.NoRepair {
		return d.peer + " has repair off, ours is on: what either of us misses stays missing"
	}
	return d.peer + " has repair on, ours is off: what either of us misses stays missing"
}

func (d *edge) otherKeep() string {
	return fmt.Sprintf("%s has another HERD_KEEP: %s, ours is %s", d.peer, keepText(d.difference.keepsFor), keepText(d.difference.weKeepFor))
}

// keepText is a Config.Keep in seconds for people.
func keepText(seconds int64) string {
	const most = math.MaxInt64 / int64(time.Second)
	switch {
	case seconds == 0:
		return "unset"
	case seconds > most:
		return "more than 292 years"
	}
	return (time.Duration(seconds) * time.Second).String()
}

// noteDifference reports how the neighbour differs from us, unless it was reported
// before: a difference is reported once, also if the neighbour restarts.
func (r *Replica) noteDifference(d *edge, b wire.Heartbeat) []Event {
	f := r.differenceTo(b)
	if f == d.difference {
		return nil
	}
	d.difference = f
	if f == (difference{}) {
		return nil
	}
	return []Event{{Kind: Mismatch, Peer: d.peer, Text: d.problem()}}
}
