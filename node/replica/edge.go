package replica

import (
	"time"

	"herd/bus/ratenote"
	"herd/node/store"
	"herd/node/wire"
)

// edge is our side of one edge. A client is in at most one of its three queues. In this package
// e is the number of an edge, its index in Replica.edges, and d is the edge.
type edge struct {
	peer    string
	removed bool // the topology does not list it any more

	live    outbox     // empty while the edge is down
	backlog outbox     // gathered while the edge was down
	delayed delayQueue // empty while the edge is down

	inFlight struct {
		ids   []store.ID // clients in the frame that NextFrame returned last
		retry bits       // of those, the ones to queue again if it is not sent
		bytes int
	}
	sent uint64 // sequence number of the last frame sent

	// Of these clients the neighbour does not have our record: it is larger than the bus's
	// messages.
	unsendable set
	dropped    uint64 // how often a record was dropped from the queues for that reason

	// While the neighbour's map is full, records of new clients are deferred, not sent: those of IDs
	// from fullFrom on, and of IDs that were free then or got free since. See noteTheirRoom.
	full     bool
	fullFrom store.ID
	reused   bits
	deferred set

	up        bool
	heartbeat wire.Heartbeat // last one received in the neighbour's present epoch
	heard     time.Time      // when that was
	goodbye   goodbye        // it announced its stop in that epoch
	confirmed wire.Mark      // last frame of ours that the neighbour says it has merged

	difference difference // as last reported

	in   sequence         // of the neighbour's frames
	loss ratenote.Limiter // of the neighbour's frames

	throttle throttle // of events
	conduct  conduct  // whether the neighbour keeps to the protocol

	clock      neighbourClock
	sync       syncState
	comparison *comparison // that runs; nil for none
	pace       tokenBucket // of comparisons

	counts Counts
}

// enqueue queues the record of a client. The order of a client's records does not matter:
// only the newest is sent.
func (d *edge) enqueue(id store.ID) {
	d.delayed.queue.drop(id)
	if !d.up {
		d.backlog.push(id)
		return
	}
	d.backlog.drop(id)
	d.live.push(id)
}

// delay delays the record of a client, unless an older record of the client is queued:
// then the new one takes its place.
func (d *edge) delay(id store.ID) {
	if !d.live.queued.has(id) && !d.backlog.queued.has(id) {
		d.delayed.queue.push(id)
	}
}

// cancel removes a client from the queues: the neighbour has its record. If the record
// is in a frame that turns out not to have been sent, it is not queued again.
func (d *edge) cancel(id store.ID) {
	d.delayed.queue.drop(id)
	d.backlog.drop(id)
	d.live.drop(id)
	d.inFlight.retry.clear(id)
	d.unsendable.remove(id)
	d.deferred.remove(id)
}

// goDown turns live and delayed records into backlog.
func (d *edge) goDown() {
	d.up = false
	d.live.moveTo(&d.backlog, d.live.end())
	d.delayed.queue.moveTo(&d.backlog, d.delayed.queue.end())
}

// queued is the number of records to send, without the delayed ones.
func (d *edge) queued() int { return d.live.length + d.backlog.length }

// Frame is a message of records for one neighbour.
type Frame struct {
	Data  []byte // lines, each with its LF
	Mark  wire.Mark
	Lines int // 0 for no frame
	// TooLarge counts records that were dropped because the bus takes no message of
	// their size.
	TooLarge int
	// More says that it ended early, because it has left out skipAtOnce records. It may have no lines then: call
	// NextFrame again.
	More bool
}

// skipAtOnce bounds the time of NextFrame, if the neighbour takes none of the records that are queued.
const skipAtOnce = 1024

// NextFrame appends to dst the next frame for edge e: live records first, then backlog,
// oldest first, up to the size of a message. It returns no lines while the edge is down
// or nothing is queued, and see Frame.More. FrameDone must follow before the next call for e.
func (r *Replica) NextFrame(e int, dst []byte) (f Frame) {
	d := r.edges[e]
	if len(d.inFlight.ids) > 0 { // the sender failed between NextFrame and FrameDone
		r.FrameDone(e, Uncertain)
	}
	if !d.up {
		return Frame{}
	}
	f = Frame{Data: dst, Mark: wire.Mark{Epoch: r.cfg.Epoch, Seq: d.sent + 1}}
	theirFloor := r.theirFloor(d)
	skipped := 0
	for _, o := range []*outbox{&d.live, &d.backlog} {
		for id, ok := o.peek(); ok; id, ok = o.peek() {
			if f.More = skipped == skipAtOnce; f.More {
				d.inFlight.bytes = len(f.Data) - len(dst)
				return f
			}
			line := r.store.Line(id)
			size := len(line) + 1
			switch {
			case theirFloor != 0 && r.isBelow(id, theirFloor): // the neighbour takes no such record
				o.pop(id)
				skipped++
				continue
			case d.defers(id):
				o.pop(id)
				skipped++
				d.deferred.add(id)
				continue
			case size > r.maxMessage:
				o.pop(id)
				skipped++
				d.unsendable.add(id)
				d.dropped++
				f.TooLarge++
				continue
			case f.Lines > 0 && len(f.Data)-len(dst)+size > r.frameSize():
				d.inFlight.bytes = len(f.Data) - len(dst)
				return f
			}
			o.pop(id)
			f.Data = append(append(f.Data, line...), '\n')
			f.Lines++
			d.unsendable.remove(id)
			d.deferred.remove(id)
			d.inFlight.ids = append(d.inFlight.ids, id)
			d.inFlight.retry.set(id)
		}
	}
	d.inFlight.bytes = len(f.Data) - len(dst)
	return f
}

// SendResult is what became of a frame.
type SendResult uint8

const (
	Sent      SendResult = iota
	NotSent              // nothing left: the records are queued again, the sequence number is used again
	Uncertain            // it may have been sent: the records are queued again, under a new sequence number
)

// FrameDone says what became of the last NextFrame of edge e. A sequence number that the
// neighbour may have seen is never used again: otherwise, if one of the two frames is
// lost, there would be no gap to see.
func (r *Replica) FrameDone(e int, result SendResult) {
	d := r.edges[e]
	if result != NotSent {
		d.sent++
	}
	if result == Sent {
		d.counts.frameOut(len(d.inFlight.ids), d.inFlight.bytes)
	}
	for _, id := range d.inFlight.ids {
		if d.inFlight.retry.clear(id) && result != Sent {
			d.enqueue(id)
		}
	}
	d.inFlight.ids = d.inFlight.ids[:0]
}

// Position is where the queues of one edge ended at some time.
type Position struct{ live, backlog uint64 }

// Ends appends, for each edge, where its queues end now.
func (r *Replica) Ends(dst []Position) []Position {
	for _, d := range r.edges {
		dst = append(dst, Position{d.live.end(), d.backlog.end()})
	}
	return dst
}

// LivePassed reports whether all records that were live when Ends returned these
// positions have been handed out by NextFrame, dropped, or moved to the backlog because
// the edge went down.
func (r *Replica) LivePassed(ends []Position) bool {
	for e, end := range ends { // an edge that was added later has none
		if !r.edges[e].live.passed(end.live) {
			return false
		}
	}
	return true
}

// Passed is LivePassed for live and backlog records, on the edges that are up.
func (r *Replica) Passed(ends []Position) bool {
	for e, end := range ends {
		if d := r.edges[e]; d.up && !(d.live.passed(end.live) && d.backlog.passed(end.backlog)) {
			return false
		}
	}
	return true
}

// Sendable is the length of the longest live queue and of the longest backlog, of the
// edges that are up.
func (r *Replica) Sendable() (live, backlog int) {
	for _, d := range r.edges {
		if d.up {
			live, backlog = max(live, d.live.length), max(backlog, d.backlog.length)
		}
	}
	return live, backlog
}

// SetMaxMessage sets the number of data bytes that the bus takes in one message. If it
// takes more than before, records that were too large are queued again.
func (r *Replica) SetMaxMessage(bytes int) {
	grown := bytes > r.maxMessage
	r.maxMessage = bytes
	if !grown {
		return
	}
	for _, d := range r.edges {
		for id := range d.unsendable.all() {
			if len(r.store.Line(id)) < bytes {
				d.enqueue(id)
				r.floodSeq++
			}
		}
	}
}

// frameSize is the size at which a message is full.
func (r *Replica) frameSize() int { return min(messageSize, r.maxMessage) }

// LastSent is the sequence number of the last frame sent on each edge.
func (r *Replica) LastSent() (seqs []uint64) {
	for _, d := range r.edges {
		seqs = append(seqs, d.sent)
	}
	return seqs
}

// Unconfirmed is the number of neighbours that are up and have not confirmed all frames
// up to these sequence numbers. One whose map is full confirms nothing, and does not count.
func (r *Replica) Unconfirmed(seqs []uint64) (neighbours int) {
	for e, seq := range seqs {
		if d := r.edges[e]; d.up && !d.heartbeat.Full && d.confirmed.Seq < seq {
			neighbours++
		}
	}
	return neighbours
}

// Queued is the number of records queued for neighbours that are up, and for those that
// are down or whose map is full.
func (r *Replica) Queued() (sendable, blocked int) {
	for _, d := range r.edges {
		blocked += d.deferred.length
		if d.up {
			sendable += d.queued()
		} else {
			blocked += d.queued()
		}
	}
	return sendable, blocked
}
