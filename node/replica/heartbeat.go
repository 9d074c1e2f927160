package replica

import (
	"fmt"
	"time"

	"herd/bus/plural"
	"herd/node/wire"
)

// HeartbeatEvery is the interval of heartbeats on an edge. A neighbour that is silent for
// DownAfter is down.
const (
	HeartbeatEvery = time.Second
	DownAfter      = 3 * time.Second
)

// Heartbeat is the heartbeat to send over edge e.
func (r *Replica) Heartbeat(e int, now time.Time) wire.Heartbeat {
	d := r.edges[e]
	b := r.heartbeat(now)
	b.Seq, b.Merged = d.sent, d.in.merged
	b.Clocks, b.Unsendable = r.judgeClocks(e).Clocks, d.unsendable.length
	b.Quarantined = d.quarantined(now)
	return b
}

// NoEdgeHeartbeat answers a server that is no neighbour of ours and takes us for one of
// its own.
func (r *Replica) NoEdgeHeartbeat(now time.Time) wire.Heartbeat {
	b := r.heartbeat(now)
	b.NoEdge = true
	return b
}

// heartbeat is what is the same in the heartbeats on all edges.
func (r *Replica) heartbeat(now time.Time) wire.Heartbeat {
	return wire.Heartbeat{
		Epoch:    r.cfg.Epoch,
		Records:  r.store.Len(),
		Digest:   r.store.Digest(),
		Clock:    r.reading(now),
		Format:   wire.Format,
		Topology: r.topology.Hash,
		NoRepair: r.cfg.Repair == 0,
		Full:     r.full,
		Keep:     r.keepSeconds(),
		Floor:    r.keep.floor,
	}
}

// transition is what a heartbeat means for the state of an edge that can be used.
type transition uint8

const (
	stayUp    transition = iota
	comeUp               // first heartbeat of a neighbour that was down
	comeAgain            // first heartbeat of a new process, whose predecessor was up
	leave                // the neighbour stops: the edge is down
	ignore               // sent before the goodbye and overtaken by it
)

// goodbye is when a neighbour said that it stops, in its present epoch. The zero goodbye is
// none.
type goodbye struct {
	heard time.Time
	clock wire.Instant // the neighbour's
}

// overtook reports whether heartbeat b can have been sent before the goodbye. If it cannot,
// the goodbye was not the neighbour's.
func (g goodbye) overtook(b wire.Heartbeat, now time.Time) bool {
	return !g.heard.IsZero() && b.Clock.Compare(g.clock) <= 0 && now.Sub(g.heard) < DownAfter
}

// transition decides what heartbeat b means. restarted says that b is of a new epoch.
func (d *edge) transition(b wire.Heartbeat, restarted bool, now time.Time) transition {
	switch {
	case b.Bye:
		return leave
	case d.goodbye.overtook(b, now):
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
	d := r.edges[e]
	if d.removed || d.quarantined(now) {
		return nil, false
	}
	events = d.endQuarantine(now)
	if events = append(events, r.judgeHeartbeat(e, b, now)...); d.quarantined(now) || !d.in.plausible(wire.Mark{Epoch: b.Epoch, Seq: b.Seq}, now) {
		return events, false
	}
	previous := d.heartbeat
	restarted := b.Epoch != previous.Epoch
	if restarted {
		d.goodbye, d.confirmed, d.clock.samples, d.clock.agreeing = goodbye{}, wire.Mark{}, nil, 0
	}
	d.heartbeat, d.heard = b, now
	if events = append(events, r.judgeReceipts(e, now)...); d.quarantined(now) {
		return events, false
	}
	differs := r.noteDifference(d, b)
	if d.difference.unusable() { // what else it says is not about this edge
		return append(events, d.limited(append(r.goDown(e, d.problem()), differs...), now)...), false
	}
	r.noteTheirRoom(d)
	if b.Merged.Epoch == r.cfg.Epoch {
		d.confirmed = b.Merged
	}
	gaps := append(events, r.noteLoss(e, d.in.announced(wire.Mark{Epoch: b.Epoch, Seq: b.Seq}, now), now)...)
	next := d.transition(b, restarted, now)
	events = r.apply(next, e, restarted && previous.Epoch != 0, now)
	if next == leave || next == ignore {
		return append(gaps, d.limited(append(differs, events...), now)...), false
	}
	events = append(append(differs, events...), r.noteClock(d, now)...)
	r.compareDigests(e, previous, now)
	return append(gaps, d.limited(events, now)...), b.Answer || next != stayUp
}

// apply makes the transition that the heartbeat that has just arrived means. newLife says
// that we have heard an earlier process of the neighbour.
func (r *Replica) apply(next transition, e int, newLife bool, now time.Time) (events []Event) {
	d := r.edges[e]
	switch next {
	case stayUp, ignore:
		return nil
	case leave:
		d.goodbye = goodbye{now, d.heartbeat.Clock}
		return r.goDown(e, "it stopped")
	case comeAgain:
		if c := d.comparison; c != nil && !c.useful(now) { // Ready must not wait for one that restarts again and again
			d.sync.fruitless++
		}
		events = r.goDown(e, "it was restarted")
	}
	if newLife && r.cfg.Repair == 0 { // it gets what is news from now on, as it would from a neighbour that did not know it
		d.forget()
	}
	d.up, d.goodbye = true, goodbye{}
	d.conduct.repeats.restart(r.journalSeq, now)
	d.clock.samples, d.clock.agreeing = nil, 0 // clocks may have been set meanwhile
	r.startSync(e, now)
	return append(events, Event{Kind: Up, Peer: d.peer, Text: fmt.Sprintf("%s is up and holds %s", d.peer, plural.Count(d.heartbeat.Records, "record"))})
}

// Tick finds neighbours that have been silent for too long. Call it every HeartbeatEvery
// or so.
func (r *Replica) Tick(now time.Time) (events []Event) {
	r.noteSuspension(now)
	r.lastTick = now
	r.noteRoom(now)
	for e, d := range r.edges {
		events = append(events, d.endQuarantine(now)...)
		events = append(events, r.judgeReceipts(e, now)...)
		events = append(events, d.reportLoss(now)...)
		if d.up && now.Sub(d.heard) >= DownAfter {
			events = append(events, d.limited(r.goDown(e, fmt.Sprintf("no heartbeat for %v", DownAfter)), now)...)
		}
		events = append(events, d.leftOut(now)...)
	}
	events = append(events, r.noteOwnClock(now)...)
	return append(events, r.noteKeep(now)...)
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
	d := r.edges[e]
	if !d.up {
		return nil
	}
	d.goDown()
	r.stopSync(e)
	return []Event{{Kind: Down, Peer: d.peer, Text: fmt.Sprintf("%s is down: %s; %s %s queued for it", d.peer, reason, plural.Count(d.queued(), "record"), plural.Form(d.queued(), "is", "are"))}}
}
