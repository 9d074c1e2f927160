package replica

import (
	"fmt"
	"time"

	"herd/node/wire"
)

// BeatEvery is how often an edge says that it lives, and DownAfter how long its
// silence must last to be taken for death.
const (
	BeatEvery = time.Second
	DownAfter = 3 * time.Second
)

// Kind says what an Event is about: the <kind> of an event's subject.
type Kind string

// The kinds that a Replica finds by itself.
const (
	Up       Kind = "up"
	Down     Kind = "down"
	Gap      Kind = "gap"
	Mismatch Kind = "mismatch"
)

// Event is a notice for people about one neighbour.
type Event struct {
	Kind Kind
	Peer string
	Text string // one line
}

// edge is this server's side of one edge.
type edge struct {
	peer string
	out  outbox

	flight []ID   // the clients in the last Fill's frame
	sent   uint64 // number of the last frame sent

	up        bool
	epoch     uint64    // of the neighbour's life that we last heard a beat of
	heard     time.Time // when that was
	departed  bool      // it said goodbye, in that life
	mismatch  bool      // its format or topology is not ours, in that life
	in        wire.Mark // last message of the neighbour that was merged
	confirmed wire.Mark // last message of ours that the neighbour says it merged
}

// received notes the arrival of message m, or, by a beat, of news that m had been
// sent. A message that is known to have been sent and did not come is lost: the
// bus keeps the order of one sender's messages.
func (d *edge) received(m wire.Mark, beat bool) []Event {
	if m.Epoch != d.in.Epoch { // first contact with this life: what came before was not for us
		d.in = m
		return nil
	}
	next := d.in.Seq + 1
	if beat {
		next = d.in.Seq
	}
	d.in.Seq = max(d.in.Seq, m.Seq)
	if m.Seq > next {
		return []Event{{Gap, d.peer, fmt.Sprintf("%d messages of %s were lost before number %d", m.Seq-next, d.peer, m.Seq)}}
	}
	return nil
}

// Beat takes in a heartbeat of edge e that came at now. answer says that a beat
// of ours is wanted back at once: the neighbour asked, or it is newly up and may
// not have heard us yet.
func (r *Replica) Beat(e int, b wire.Beat, now time.Time) (events []Event, answer bool) {
	d := &r.edges[e]
	reborn := b.Epoch != d.epoch
	if reborn {
		d.departed, d.mismatch, d.confirmed = false, false, wire.Mark{}
	}
	d.epoch, d.heard = b.Epoch, now
	if b.Merged.Epoch == r.cfg.Epoch {
		d.confirmed = b.Merged
	}
	events = d.received(wire.Mark{Epoch: b.Epoch, Seq: b.Seq}, true)

	switch {
	case b.Format != wire.Format || b.Topology != r.cfg.Topology:
		events = append(events, d.goDown("its format or topology is not ours")...)
		if !d.mismatch {
			d.mismatch = true
			events = append(events, Event{Mismatch, d.peer, fmt.Sprintf(
				"%s speaks format %d of topology %016x, we format %d of topology %016x: the edge stays down",
				d.peer, b.Format, b.Topology, wire.Format, r.cfg.Topology)})
		}
		return events, false
	case b.Bye:
		d.departed = true
		return append(events, d.goDown("said goodbye")...), false
	case d.departed: // an answer that its goodbye overtook
		return events, false
	case d.up && reborn:
		events = append(events, d.goDown("was restarted")...)
	}
	if !d.up {
		d.up = true
		events = append(events, Event{Up, d.peer, fmt.Sprintf("%s is up, holding %d records", d.peer, b.Records)})
		return events, true
	}
	return events, b.Answer
}

// Tick looks for neighbours that have been silent for too long.
func (r *Replica) Tick(now time.Time) (events []Event) {
	for i := range r.edges {
		if d := &r.edges[i]; d.up && now.Sub(d.heard) >= DownAfter {
			events = append(events, d.goDown(fmt.Sprintf("has been silent for %v", DownAfter))...)
		}
	}
	return events
}

// BusAway says that the bus is: nobody hears us, and whether neighbours come back
// to it when we do is for their beats to say.
func (r *Replica) BusAway() (events []Event) {
	for i := range r.edges {
		events = append(events, r.edges[i].goDown("is beyond a bus that is away")...)
	}
	return events
}

func (d *edge) goDown(why string) []Event {
	if !d.up {
		return nil
	}
	d.up = false
	return []Event{{Down, d.peer, fmt.Sprintf("%s is down: it %s; %d records wait for it", d.peer, why, d.out.length)}}
}

// Heartbeat is the beat to send over edge e at now.
func (r *Replica) Heartbeat(e int, now time.Time) wire.Beat {
	d := &r.edges[e]
	return wire.Beat{
		Epoch:    r.cfg.Epoch,
		Seq:      d.sent,
		Merged:   d.in,
		Records:  r.records.Len(),
		Clock:    wire.InstantOf(now),
		Format:   wire.Format,
		Topology: r.cfg.Topology,
	}
}

// Unconfirmed is how many records wait for neighbours that are up, and how many
// of those neighbours have not yet confirmed all messages that were sent to them.
func (r *Replica) Unconfirmed() (records, neighbours int) {
	for i := range r.edges {
		d := &r.edges[i]
		if !d.up {
			continue
		}
		records += d.out.length
		if d.out.length > 0 || d.confirmed.Seq < d.sent {
			neighbours++
		}
	}
	return records, neighbours
}

// UpCount is how many neighbours are up.
func (r *Replica) UpCount() (n int) {
	for i := range r.edges {
		if r.edges[i].up {
			n++
		}
	}
	return n
}
