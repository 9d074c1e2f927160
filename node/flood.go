package node

import (
	"context"
	"errors"
	"math"
	"time"

	"herd/bus"
	"herd/bus/batch"
	"herd/node/replica"
)

// The flood sends news to the neighbours. A flush makes one frame per edge of all that is
// queued, and all frames leave in one write. A session flushes its own records before it
// replies, or waits for another session's flush that includes them. The goroutine that
// reads from the bus flushes what neighbours sent. runFlood does the rest: backlogs,
// retries, and delayed forwarding.
const (
	// maxBatchDelay is how long a session waits for others to join its flush.
	maxBatchDelay = time.Millisecond
	// A server is busy if more records than this are flushed per maxBatchDelay. Then
	// sessions wait for each other: a message costs as much as some tens of records, at
	// each server that it passes. Four messages per millisecond are about what keeps a
	// processor busy.
	busyRecords = 4
	// batchRecords are enough for a flush of their own.
	batchRecords = 256
	// maxInline records are the most that the bus's reader flushes itself. More is left
	// to runFlood, so that reading goes on.
	maxInline = 4 * batchRecords
	// stall is how long a session waits for a flush. After that the bus counts as stalled,
	// and no session waits until a flush succeeds again.
	stall = 100 * time.Millisecond
)

// flooder makes the frames of the flood. The holder of the token may flush.
type flooder struct {
	token   chan struct{} // capacity 1, full while nobody flushes
	wake    chan struct{} // wakes runFlood; capacity 1
	forward *time.Timer   // fires when replica.ForwardTicked is due

	// Guarded by the token:
	frames   [][]byte           // by edge: buffer for one frame
	ends     []replica.Position // of the queues at the beginning of the flush
	messages []bus.Message
	edges    []int // of messages
	more     bool  // an edge has more records to look at: see replica.Frame
	tooLarge int   // records dropped because the bus takes no message of their size
	records  int   // that were live at the beginning, on the edge that had most
}

func newFlooder() flooder {
	f := flooder{token: make(chan struct{}, 1), wake: make(chan struct{}, 1), forward: time.NewTimer(replica.ForwardTick)}
	f.forward.Stop()
	f.token <- struct{}{}
	return f
}

// flushAdvice says how a session should flush what it has just queued.
type flushAdvice struct {
	delay  time.Duration // to wait for other sessions to join
	inline bool          // the session may flush itself: it is not too much
}

// adviseFlush advises a session. waiters is the number of sessions that wait for a flush,
// this one included. The lock is held.
func (n *Node) adviseFlush(waiters int, now time.Time) flushAdvice {
	live, _ := n.replica.Sendable()
	return flushAdvice{n.batch.Delay(batch.Queue{Items: live, Waiters: waiters}, now), live <= maxInline}
}

// awaitFlood returns when everything that was queued up to seq has been written to the
// bus for every neighbour that is up, or is queued again because the bus failed. A bus
// that does not take it within stall counts as stalled. advice is of the moment when
// the session queued its records.
func (n *Node) awaitFlood(seq uint64, advice flushAdvice, w *waiter) {
	f := &n.flood
	if advice.delay <= 0 && advice.inline {
		select {
		case <-f.token:
			n.flush(seq)
			return
		default:
		}
	}
	n.mu.Lock()
	mustWait, stalled := n.flushed.mustWait(seq), n.flushed.stalled
	if mustWait && !stalled {
		n.flushed.add(seq, w)
		advice = n.adviseFlush(len(n.flushed.waiting), time.Now()) // others may have joined meanwhile
	}
	n.mu.Unlock()
	switch {
	case !mustWait:
		return
	case stalled:
		signal(f.wake)
		return
	case advice.delay > 0 && w.sleep(advice.delay):
		return
	}
	token := f.token
	if !advice.inline {
		token = nil // never ready: runFlood flushes
		signal(f.wake)
	}
	w.timer.Reset(stall)
	defer w.timer.Stop()
	select {
	case <-w.woken:
		return
	case <-token:
		n.flush(seq) // wakes us, too
	case <-w.timer.C:
		n.mu.Lock()
		n.flushed.stalled = n.flushed.done < seq
		n.mu.Unlock()
		signal(f.wake) // to retry
	}
	n.mu.Lock()
	n.flushed.remove(w)
	n.mu.Unlock()
	<-w.woken
}

// runFlood flushes backlogs, retries and delayed records, until ctx ends.
func (n *Node) runFlood(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-n.flood.wake:
		case <-n.flood.forward.C:
			n.mu.Lock()
			n.replica.ForwardTicked()
			n.forwardTimer = false
			n.startForwardTimer()
			n.mu.Unlock()
		}
		<-n.flood.token
		n.flush(everything)
	}
}

// startForwardTimer starts the timer for delayed records, if there are any and it does
// not run. The lock is held.
func (n *Node) startForwardTimer() {
	if !n.forwardTimer && n.replica.Delaying() {
		n.forwardTimer = true
		n.flood.forward.Reset(replica.ForwardTick)
	}
}

// BatchEnd flushes what neighbours sent: bus.Handler.
func (n *Node) BatchEnd() {
	n.mu.Lock()
	live, _ := n.replica.Sendable()
	n.mu.Unlock()
	switch {
	case live == 0:
		return
	case live <= maxInline:
		select {
		case <-n.flood.token:
			n.flush(everything)
			return
		default:
		}
	}
	signal(n.flood.wake)
}

// everything is a sequence number that is never reached.
const everything = math.MaxUint64

// flush sends all live records, and some of each backlog with them, and wakes the
// sessions that wait for that. It does nothing if all up to seq has been sent already. The
// caller holds the token; flush returns it.
func (n *Node) flush(seq uint64) {
	f := &n.flood
	defer func() { f.token <- struct{}{} }()
	seq = n.beginFlush(seq)
	for len(f.messages) > 0 || f.more {
		var err error
		if len(f.messages) > 0 {
			err = n.cfg.Bus.Send(f.messages...)
		}
		if errors.Is(err, bus.ErrNoEdge) { // an edge is being removed, or added: all others' frames have left
			err = nil
		}
		if err == nil {
			n.logSent(f.messages)
		} else {
			n.log.Debug("flood not sent", "err", err)
		}
		n.continueFlush(seq, err)
	}
	if f.tooLarge > 0 {
		n.noteTooLarge(f.tooLarge)
		f.tooLarge = 0
	}
}

// beginFlush takes the first frames and returns what the flush covers: all that was
// queued up to now. If there is nothing to send, there are no frames and no more to look at.
func (n *Node) beginFlush(wanted uint64) (seq uint64) {
	f := &n.flood
	n.mu.Lock()
	defer n.mu.Unlock()
	f.messages, f.edges, f.more = f.messages[:0], f.edges[:0], false
	if n.flushed.done >= wanted { // another session's flush has sent it
		return wanted
	}
	f.ends = n.replica.Ends(f.ends[:0])
	seq = n.replica.FloodSeq()
	f.records, _ = n.replica.Sendable()
	if n.takeFrames(); len(f.messages) == 0 && !f.more {
		n.flushFailed = false
		n.flushed.advance(seq)
	}
	return seq
}

// continueFlush notes what became of the frames that were sent and takes the next ones.
// The flush ends when all that it covers has been sent, or with the first error: then
// the records are queued again, and those who wait are woken as if they had been sent.
func (n *Node) continueFlush(seq uint64, err error) {
	f := &n.flood
	n.mu.Lock()
	defer n.mu.Unlock()
	result := replica.Sent
	switch {
	case errors.Is(err, bus.ErrUncertain):
		result = replica.Uncertain
	case err != nil:
		result = replica.NotSent
	}
	for _, e := range f.edges {
		n.replica.FrameDone(e, result)
	}
	tooLarge := errors.Is(err, bus.ErrTooLarge)
	if tooLarge { // the broker takes less than it did: make smaller frames
		n.replica.SetMaxMessage(min(n.cfg.Bus.MaxData(), largest(f.messages)-1))
		f.ends = n.replica.Ends(f.ends[:0]) // the records are queued again, at the end
	}
	if tooLarge || err == nil && !n.replica.LivePassed(f.ends) {
		n.takeFrames()
	} else {
		f.messages, f.more = f.messages[:0], false
	}
	if len(f.messages) > 0 || f.more {
		return
	}
	n.flushFailed = err != nil && !tooLarge
	n.flushed.advance(seq)
	n.batch.Flushed(f.records, 0, 0, time.Now())
	if _, backlog := n.replica.Sendable(); backlog > 0 && !n.flushFailed {
		signal(f.wake)
	}
}

// takeFrames takes the next frame of each edge that has anything to send. The lock is
// held.
func (n *Node) takeFrames() {
	f := &n.flood
	f.messages, f.edges, f.more = f.messages[:0], f.edges[:0], false
	if n.bus != connected || n.silent {
		return
	}
	for len(f.frames) < n.replica.Edges() { // the topology has changed
		f.frames = append(f.frames, nil)
	}
	for e := range f.frames {
		frame := n.replica.NextFrame(e, f.frames[e][:0])
		f.tooLarge += frame.TooLarge
		f.more = f.more || frame.More
		if frame.Lines == 0 {
			continue
		}
		f.frames[e] = frame.Data
		f.messages = append(f.messages, bus.Message{Lane: bus.Records, Peer: n.replica.Peer(e), Epoch: frame.Mark.Epoch, Seq: frame.Mark.Seq, Data: frame.Data})
		f.edges = append(f.edges, e)
	}
}

// largest is the size of the largest message.
func largest(messages []bus.Message) (size int) {
	for _, m := range messages {
		size = max(size, len(m.Data))
	}
	return size
}
