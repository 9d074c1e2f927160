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

// Clocks further apart than clockWarn are told of; further than clockUnready, they
// make the server unready.
const (
	clockWarn    = 2 * time.Second
	clockUnready = 30 * time.Second
	clockSamples = 3 // beats that must say so
)

// Kind says what an Event is about: the <kind> of an event's subject.
type Kind string

// The kinds that a Replica finds by itself.
const (
	Up       Kind = "up"
	Down     Kind = "down"
	Gap      Kind = "gap"
	Repair   Kind = "repair"
	Clock    Kind = "clock"
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
	peer     string
	out      outbox
	presumed presumed // no client is in both

	flight     []ID   // the clients in the last Fill's frame
	flightSize int    // bytes of it
	flying     bits   // of those, the ones to be told again should it not have been sent
	sent       uint64 // number of the last frame sent

	up        bool
	beat      wire.Beat // the last heard, in the neighbour's present life
	heard     time.Time // when that was
	departed  bool      // it said goodbye, in that life
	mismatch  bool      // its format or topology is not ours, in that life
	confirmed wire.Mark // last message of ours that the neighbour says it merged

	in     wire.Mark // last message of the neighbour that was seen
	merged wire.Mark // the last before which nothing is missing

	lost     uint64    // messages of the neighbour's, not yet told of
	lossTold time.Time // when there was told of some

	skews  []time.Duration // of the neighbour's clock, by its last beats
	skewed bool            // and people were told

	repair repairState
	counts Counts
}

// want marks the record of a client as wanted.
func (d *edge) want(id ID) {
	d.presumed.waiting.drop(id)
	d.out.want(id)
}

// presume presumes that the neighbour has the record of a client, if an older one
// does not wait to leave, in whose place it will.
func (d *edge) presume(id ID) {
	if !d.out.wanted.has(id) {
		d.presumed.waiting.want(id)
	}
}

// drop takes a client out of what the neighbour is to be told, also out of a frame
// that may turn out not to have been sent.
func (d *edge) drop(id ID) {
	d.presumed.waiting.drop(id)
	d.out.drop(id)
	d.flying.clear(id)
}

// received notes the arrival of message m, or, by a beat, of news that m had been
// sent. A message that is known to have been sent and did not come is lost: the
// bus keeps the order of one sender's messages.
func (d *edge) received(m wire.Mark, beat bool) (lost uint64) {
	whole := d.merged == d.in
	if m.Epoch != d.in.Epoch { // first contact with this life: what came before was not for us
		d.in = m
	} else {
		next := d.in.Seq + 1
		if beat {
			next = d.in.Seq
		}
		if m.Seq > next {
			lost = m.Seq - next
		}
		d.in.Seq = max(d.in.Seq, m.Seq)
	}
	if m.Epoch != d.merged.Epoch || whole && lost == 0 {
		d.merged = d.in
	}
	return lost
}

// Beat takes in a heartbeat of edge e that came at now. answer says that a beat
// of ours is wanted back at once: the neighbour asked, or it is newly up and may
// not have heard us yet.
func (r *Replica) Beat(e int, b wire.Beat, now time.Time) (events []Event, answer bool) {
	r.noteSleep(now)
	d := &r.edges[e]
	before := d.beat
	reborn := b.Epoch != before.Epoch
	if reborn {
		d.departed, d.mismatch, d.confirmed, d.skews = false, false, wire.Mark{}, nil
	}
	d.beat, d.heard = b, now
	if b.Merged.Epoch == r.cfg.Epoch {
		d.confirmed = b.Merged
	}
	events = r.noteLoss(e, d.received(wire.Mark{Epoch: b.Epoch, Seq: b.Seq}, true), now)

	switch {
	case b.Format != wire.Format || b.Topology != r.cfg.Topology:
		events = append(events, r.goDown(e, "its format or topology is not ours")...)
		if !d.mismatch {
			d.mismatch = true
			events = append(events, Event{Mismatch, d.peer, fmt.Sprintf(
				"%s speaks format %d of topology %016x, we format %d of topology %016x: the edge stays down",
				d.peer, b.Format, b.Topology, wire.Format, r.cfg.Topology)})
		}
		return events, false
	case b.Bye:
		d.departed = true
		return append(events, r.goDown(e, "said goodbye")...), false
	case d.departed: // an answer that its goodbye overtook
		return events, false
	case d.up && reborn:
		events = append(events, r.goDown(e, "was restarted")...)
	}
	events = append(events, r.noteClock(d, now)...)
	answer = b.Answer
	if !d.up {
		d.up = true
		r.planRepair(e, now)
		events = append(events, Event{Up, d.peer, fmt.Sprintf("%s is up, holding %d records", d.peer, b.Records)})
		answer = true
	}
	r.compareDigests(e, before, now)
	return events, answer
}

// Tick looks for neighbours that have been silent for too long. It is called each
// BeatEvery or so.
func (r *Replica) Tick(now time.Time) (events []Event) {
	r.noteSleep(now)
	r.ticked = now
	for e := range r.edges {
		events = append(events, r.edges[e].tellLoss(now)...)
		if d := &r.edges[e]; d.up && now.Sub(d.heard) >= DownAfter {
			events = append(events, r.goDown(e, fmt.Sprintf("has been silent for %v", DownAfter))...)
		}
	}
	return events
}

// noteSleep notices that we did not run for a while: what comes in now has waited,
// and tells nothing of clocks.
func (r *Replica) noteSleep(now time.Time) {
	if !r.ticked.IsZero() && now.Sub(r.ticked) > 2*BeatEvery {
		r.slept = now
	}
}

// BusAway says that the bus is: nobody hears us, and whether neighbours come back
// to it when we do is for their beats to say.
func (r *Replica) BusAway() (events []Event) {
	for e := range r.edges {
		events = append(events, r.goDown(e, "is beyond a bus that is away")...)
	}
	return events
}

func (r *Replica) goDown(e int, why string) []Event {
	d := &r.edges[e]
	if !d.up {
		return nil
	}
	d.up = false
	d.presumed.stop(&d.out)
	r.dropRepair(e)
	return []Event{{Down, d.peer, fmt.Sprintf("%s is down: it %s; %d records wait for it", d.peer, why, d.out.length)}}
}

// noteClock follows how far the neighbour's clock is from ours. A beat that was
// under way for long makes it look late; so the most that the last beats say
// counts, and nothing that came while we did not run.
func (r *Replica) noteClock(d *edge, now time.Time) []Event {
	if now.Sub(r.slept) < DownAfter {
		d.skews = nil
		return nil
	}
	apart := d.beat.Clock.Sub(wire.InstantOf(now))
	d.skews = append(d.skews, time.Duration(apart.Seconds()*float64(time.Second)))
	if len(d.skews) < clockSamples {
		return nil
	}
	d.skews = d.skews[len(d.skews)-clockSamples:]
	skew, _ := d.skew()
	was := d.skewed
	d.skewed = skew.Abs() > clockWarn
	switch {
	case d.skewed && !was:
		return []Event{{Clock, d.peer, fmt.Sprintf("the clock of %s is %v from ours", d.peer, skew.Round(time.Millisecond))}}
	case was && !d.skewed:
		return []Event{{Clock, d.peer, fmt.Sprintf("the clock of %s is with ours again", d.peer)}}
	}
	return nil
}

// skew is how far the neighbour's clock is ahead of ours, if enough beats have
// told.
func (d *edge) skew() (skew time.Duration, known bool) {
	if len(d.skews) < clockSamples {
		return 0, false
	}
	skew = d.skews[0]
	for _, s := range d.skews {
		skew = max(skew, s)
	}
	return skew, true
}

// ClockOff names a neighbour that is up and whose clock is so far from ours that
// one of us must be wrong; "" if there is none.
func (r *Replica) ClockOff() string {
	for i := range r.edges {
		if skew, known := r.edges[i].skew(); r.edges[i].up && known && skew.Abs() > clockUnready {
			return fmt.Sprintf("the clock of %s is %v from ours", r.edges[i].peer, skew.Round(time.Second))
		}
	}
	return ""
}

// BeatAge is how many seconds ago the neighbour at edge e was last heard; -1 for
// never.
func (r *Replica) BeatAge(e int, now time.Time) float64 {
	if r.edges[e].heard.IsZero() {
		return -1
	}
	return now.Sub(r.edges[e].heard).Seconds()
}

// Heartbeat is the beat to send over edge e at now.
func (r *Replica) Heartbeat(e int, now time.Time) wire.Beat {
	d := &r.edges[e]
	return wire.Beat{
		Epoch:    r.cfg.Epoch,
		Seq:      d.sent,
		Merged:   d.merged,
		Records:  r.records.Len(),
		Digest:   r.records.Digest(),
		Clock:    wire.InstantOf(now),
		Format:   wire.Format,
		Topology: r.cfg.Topology,
	}
}

// Marks is the number of the last frame sent on each edge.
func (r *Replica) Marks() (sent []uint64) {
	for i := range r.edges {
		sent = append(sent, r.edges[i].sent)
	}
	return sent
}

// Unconfirmed is how many neighbours that are up have not yet confirmed all frames
// up to the numbers in marks.
func (r *Replica) Unconfirmed(marks []uint64) (neighbours int) {
	for i := range r.edges {
		if d := &r.edges[i]; d.up && d.confirmed.Seq < marks[i] {
			neighbours++
		}
	}
	return neighbours
}

// Kept is how many records wait for neighbours that are up, and for others.
func (r *Replica) Kept() (up, down int) {
	for i := range r.edges {
		if r.edges[i].up {
			up += r.edges[i].out.length
		} else {
			down += r.edges[i].out.length
		}
	}
	return up, down
}
