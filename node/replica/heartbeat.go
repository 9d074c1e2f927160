package replica

import (
	"fmt"
	"time"

	"herd/node/wire"
)

// HeartbeatEvery is the interval of heartbeats on an edge. A neighbour that is silent for
// DownAfter is down.
const (
	HeartbeatEvery = time.Second
	DownAfter      = 3 * time.Second
)

// Kind is the kind of an Event, and the <kind> of its subject.
type Kind string

// The kinds that a Replica reports.
const (
	Up       Kind = "up"
	Down     Kind = "down"
	Gap      Kind = "gap"
	Repair   Kind = "repair"
	Clock    Kind = "clock"
	Mismatch Kind = "mismatch"
)

// Event is a notice for operators about one neighbour.
type Event struct {
	Kind Kind
	Peer string
	Text string // one line
}

// Heartbeat is the heartbeat to send over edge e.
func (r *Replica) Heartbeat(e int, now time.Time) wire.Heartbeat {
	d := &r.edges[e]
	return wire.Heartbeat{
		Epoch:    r.cfg.Epoch,
		Seq:      d.sent,
		Merged:   d.in.merged,
		Records:  r.store.Len(),
		Digest:   r.store.Digest(),
		Clock:    wire.InstantOf(now),
		Format:   wire.Format,
		Topology: r.cfg.Topology,
	}
}

// transition is what a heartbeat means for the state of an edge.
type transition uint8

const (
	stayUp    transition = iota
	comeUp               // first heartbeat of a neighbour that was down
	comeAgain            // first heartbeat of a new process, whose predecessor was up
	refuse               // its format or topology differs: the edge is down
	leave                // the neighbour stops: the edge is down
	ignore               // sent before the goodbye and overtaken by it
)

// transition decides what heartbeat b means. restarted says that b is of a new epoch.
func (d *edge) transition(b wire.Heartbeat, restarted bool, topology uint64) transition {
	switch {
	case b.Format != wire.Format || b.Topology != topology:
		return refuse
	case b.Bye:
		return leave
	case d.stopped:
		return ignore
	case d.up && restarted:
		return comeAgain
	case d.up:
		return stayUp
	}
	return comeUp
}

// HandleHeartbeat handles a heartbeat that arrived over edge e. reply says that a
// heartbeat of ours is wanted at once: the neighbour asked for it, or it has just come up
// and may not have heard us yet.
func (r *Replica) HandleHeartbeat(e int, b wire.Heartbeat, now time.Time) (events []Event, reply bool) {
	r.noteSuspension(now)
	d := &r.edges[e]
	previous := d.heartbeat
	restarted := b.Epoch != previous.Epoch
	if restarted {
		d.stopped, d.mismatch, d.confirmed, d.clock.samples = false, false, wire.Mark{}, nil
	}
	d.heartbeat, d.heard = b, now
	if b.Merged.Epoch == r.cfg.Epoch {
		d.confirmed = b.Merged
	}
	events = r.noteLoss(e, d.in.announced(wire.Mark{Epoch: b.Epoch, Seq: b.Seq}), now)

	next := d.transition(b, restarted, r.cfg.Topology)
	switch next {
	case refuse:
		return append(events, r.refuse(e, b)...), false
	case leave:
		d.stopped = true
		return append(events, r.goDown(e, "it stopped")...), false
	case ignore:
		return events, false
	case comeAgain:
		events = append(events, r.goDown(e, "it was restarted")...)
	}
	events = append(events, r.noteClock(d, now)...)
	if next != stayUp {
		d.up = true
		r.startSync(e, now)
		events = append(events, Event{Up, d.peer, fmt.Sprintf("%s is up and holds %d records", d.peer, b.Records)})
	}
	r.compareDigests(e, previous, now)
	return events, b.Answer || next != stayUp
}

// refuse keeps an edge down whose ends do not agree, and reports it once per epoch.
func (r *Replica) refuse(e int, b wire.Heartbeat) []Event {
	d := &r.edges[e]
	events := r.goDown(e, "its format or topology differs from ours")
	if d.mismatch {
		return events
	}
	d.mismatch = true
	return append(events, Event{Mismatch, d.peer, fmt.Sprintf(
		"the edge stays down: %s has format %d and topology %016x, we have format %d and topology %016x",
		d.peer, b.Format, b.Topology, wire.Format, r.cfg.Topology)})
}

// Tick finds neighbours that have been silent for too long. Call it every HeartbeatEvery
// or so.
func (r *Replica) Tick(now time.Time) (events []Event) {
	r.noteSuspension(now)
	r.lastTick = now
	for e := range r.edges {
		d := &r.edges[e]
		events = append(events, d.reportLoss(now)...)
		if d.up && now.Sub(d.heard) >= DownAfter {
			events = append(events, r.goDown(e, fmt.Sprintf("no heartbeat for %v", DownAfter))...)
		}
	}
	return events
}

// Disconnected says that the connection to the bus was lost. All neighbours count as down
// until their heartbeats arrive again.
func (r *Replica) Disconnected() (events []Event) {
	for e := range r.edges {
		events = append(events, r.goDown(e, "NATS is disconnected")...)
	}
	return events
}

func (r *Replica) goDown(e int, reason string) []Event {
	d := &r.edges[e]
	if !d.up {
		return nil
	}
	d.goDown()
	r.stopSync(e)
	return []Event{{Down, d.peer, fmt.Sprintf("%s is down: %s; %d records are queued for it", d.peer, reason, d.queued())}}
}
