package node

import (
	"bytes"
	"context"
	"errors"
	"time"

	"herd/bus"
	"herd/node/replica"
)

// The flood sends what is news to the neighbours, in passes: each makes one message
// an edge of all that is wanted there, and all of them leave in one write. A message
// costs what some tens of lines cost, at each server that it passes, so records are
// to have company in it, and nobody is to wait for company that will not come:
//
//   - A session that waits for its records to be flooded makes the pass itself. On a
//     busy server it first waits for others: those that passes let go a moment ago,
//     and whose clients may have sent the next report by now. Clients that send one
//     report after the other so share passes, and one that is alone waits for nobody.
//   - What neighbours bring is passed on once it is merged, all that was read together.
//     Where neighbours have much to say, the bus has let it gather before it was read
//     (natsbus).
const (
	// keptBack is how long sessions wait for company at most. A timer may be a
	// millisecond late.
	keptBack = time.Millisecond
	// busyLines in that time keep a processor busy with messages, if each has one of
	// its own.
	busyLines = 4
	// fullMessage lines are company enough.
	fullMessage = 256
	// backlog lines, of a neighbour that came back, are not for a session to send.
	backlog = 4 * fullMessage
	// stall is how long a session waits for the flood before it takes the bus for
	// stalled; then nobody waits until the flood moves again.
	stall = 100 * time.Millisecond
)

// awaitFlood returns when all that was wanted up to t has been written to the bus for every
// neighbour, or is kept for those that are away. A bus that takes nothing for a
// while counts as away, and nobody else waits until it moves. last is the span of
// time in which a pass last let this session go.
func (n *Node) awaitFlood(t ticket, s seat, last *span) {
	p, f := &n.flood, &n.flooder
	n.mu.Lock()
	if p.done >= t || p.over {
		n.mu.Unlock()
		return
	}
	if p.stalled {
		n.mu.Unlock()
		p.nudge()
		return
	}
	p.waiting = append(p.waiting, waiting{t, s, last})
	expected, much := f.expected(), f.wanted() > backlog
	n.mu.Unlock()

	turn := f.turn
	switch {
	case much:
		turn = nil
		p.nudge()
	case expected:
		s.timer.Reset(keptBack)
		select {
		case <-s.wake:
			s.timer.Stop()
			return
		case <-s.timer.C:
		}
	}
	s.timer.Reset(stall)
	select {
	case <-s.wake:
		s.timer.Stop()
		return
	case <-turn:
		s.timer.Stop()
		f.pass()
		f.turn <- struct{}{}
	case <-s.timer.C:
		n.mu.Lock()
		p.stalled = p.done < t
		n.mu.Unlock()
		p.nudge() // for when it moves again
	}
	n.leave(p, s)
}

// runFlood floods what nobody else does: what could not be sent before, what is much,
// what came while somebody made a pass, and what neighbours were presumed to have and
// have not shown to; until ctx ends.
func (n *Node) runFlood(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-n.flood.kick:
		case <-n.moment.C:
			n.mu.Lock()
			n.replica.MomentPassed()
			n.timeMoments(true)
			n.mu.Unlock()
		}
		<-n.flooder.turn
		n.flooder.pass()
		n.flooder.turn <- struct{}{}
	}
}

// timeMoments sets the timer for the next moment if anything is presumed. passed says
// that it has just fired. The lock is held.
func (n *Node) timeMoments(passed bool) {
	if n.timing && !passed {
		return
	}
	if n.timing = n.replica.Presuming(); n.timing {
		n.moment.Reset(replica.Moment)
	}
}

// passOn floods what neighbours brought. What is much is left to runFlood.
func (n *Node) passOn() {
	f := &n.flooder
	n.mu.Lock()
	wanted := f.wanted()
	n.mu.Unlock()
	switch {
	case wanted == 0:
		return
	case wanted <= backlog:
		select {
		case <-f.turn:
			f.pass()
			f.turn <- struct{}{}
			return
		default:
		}
	}
	n.flood.nudge()
}

// retryFlood lets the flood try again what failed, and await wait for that.
func (n *Node) retryFlood() {
	n.mu.Lock()
	n.flood.done = 0
	n.mu.Unlock()
	n.flood.nudge()
}

// flooder makes the messages of the flood, one an edge at a time: an edge that has
// much to catch up with does not hold up the others. It belongs to whoever has its
// turn, but for what is said to be guarded by Node.mu.
type flooder struct {
	node *Node
	turn chan struct{} // holds a token while nobody has it

	left   []int    // by edge, lines to write before those who wait may go
	frames [][]byte // by edge, room for one

	messages []bus.Message // the next, all to be sent at once
	edges    []int         // theirs
	filled   []int         // how many lines are in them

	// Guarded by Node.mu:

	ended time.Time // when the last pass did

	// What passes did is counted in spans of keptBack or more; these are of the last
	// whole span.
	busy    bool // many lines were wanted
	company int  // sessions that were let go

	span  span // the present one
	since time.Time
	lines int // over the edge that wanted most
	letGo int // sessions
}

// span numbers spans of time, from 1.
type span uint64

func newFlooder(n *Node) flooder {
	edges := len(n.cfg.Neighbours)
	f := flooder{node: n, span: 1, turn: make(chan struct{}, 1), left: make([]int, edges), frames: make([][]byte, edges)}
	f.turn <- struct{}{}
	return f
}

// pass floods all that is wanted now, and lets those go who wait for that.
func (f *flooder) pass() {
	n := f.node
	n.mu.Lock()
	wanted := ticket(n.replica.Wants())
	for e := range f.left {
		f.left[e], _ = n.replica.Waiting(e)
	}
	f.lines += f.wanted()
	n.mu.Unlock()
	failed := false
	for f.next() {
		failed = f.send() != nil || failed
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.flood.failed = failed
	f.passed(wanted)
	n.flood.finish(wanted)
}

// passed takes note of a pass that is about to let those go who wait for what was wanted
// up to a ticket. The lock is held.
func (f *flooder) passed(wanted ticket) {
	for _, w := range f.node.flood.waiting {
		if w.ticket <= wanted && w.last != nil && *w.last != f.span {
			*w.last = f.span
			f.letGo++
		}
	}
	f.ended = time.Now()
	if elapsed := f.ended.Sub(f.since); elapsed >= keptBack {
		f.busy = float64(f.lines) > busyLines*float64(elapsed)/float64(keptBack) // elapsed may be centuries
		f.company = f.letGo
		f.span, f.since, f.lines, f.letGo = f.span+1, f.ended, 0, 0
	}
}

// expected tells whether more sessions are about to wait, and a pass had better
// have their records too. The lock is held.
func (f *flooder) expected() bool {
	return f.busy && len(f.node.flood.waiting) < f.company && f.wanted() < fullMessage && time.Since(f.ended) < keptBack
}

// wanted is how many lines are, over the edge that wants most of those that are up.
// The lock is held.
func (f *flooder) wanted() (most int) {
	for e := range f.left {
		if lines, up := f.node.replica.Waiting(e); up {
			most = max(most, lines)
		}
	}
	return most
}

// next makes the next messages, one for each edge that wants lines and has a
// neighbour that is up. It returns false when no such edge has lines left of those
// that the pass is to flood: what came meanwhile goes along, so that edges without a
// backlog do not wait for one that has, but makes no pass longer.
func (f *flooder) next() bool {
	f.messages, f.edges, f.filled = f.messages[:0], f.edges[:0], f.filled[:0]
	n := f.node
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.bus != present || n.goodbye {
		return false
	}
	more := false
	for e, left := range f.left {
		_, up := n.replica.Waiting(e)
		more = more || up && left > 0
	}
	if !more {
		return false
	}
	for e, left := range f.left {
		if _, up := n.replica.Waiting(e); !up {
			continue
		}
		frame, mark, lines := n.replica.Fill(e, f.frames[e][:0])
		f.left[e], f.frames[e] = max(0, left-lines), frame
		if lines == 0 {
			f.left[e] = 0
			continue
		}
		f.messages = append(f.messages, bus.Message{Lane: bus.Records, Peer: n.cfg.Neighbours[e], Epoch: mark.Epoch, Seq: mark.Seq, Data: frame})
		f.edges, f.filled = append(f.edges, e), append(f.filled, lines)
	}
	return len(f.messages) > 0
}

// send sends the messages. It returns an error if any was not sent and its records
// wait on.
func (f *flooder) send() (err error) {
	err = f.node.cfg.Bus.Send(f.messages...)
	if !errors.Is(err, bus.ErrTooLarge) {
		for i := range f.messages {
			f.sent(i, err)
		}
		return err
	}
	err = nil
	for i := range f.messages { // one of them it is
		err = errors.Join(err, f.sent(i, f.node.cfg.Bus.Send(f.messages[i])))
	}
	return err
}

// sent takes note of what became of a message.
func (f *flooder) sent(i int, err error) error {
	n, e, lines, m := f.node, f.edges[i], f.filled[i], f.messages[i]
	tooLarge := errors.Is(err, bus.ErrTooLarge)
	n.mu.Lock()
	switch {
	case err == nil:
		n.replica.Sent(e)
	case tooLarge: // one line that will never be sent: trying again would hold up the rest
		n.unsendable += lines
	default:
		n.replica.Unsent(e)
		f.left[e] = 0 // Connected or the pulse will bring us back
	}
	n.mu.Unlock()
	switch {
	case err == nil:
		n.logRecords("edge out", m.Peer, m.Data)
		n.traceOut(m.Peer, m.Seq, m.Data)
	case tooLarge:
		n.log.Error("record not sent: the bus takes no messages of its size", "edge", m.Peer, "records", lines, "err", err)
		return nil
	default:
		n.log.Debug("flood", "edge", m.Peer, "err", err)
	}
	return err
}

// logRecords writes the records of a frame to the traffic log.
func (n *Node) logRecords(what, peer string, frame []byte) {
	if n.traffic == nil {
		return
	}
	for line := range bytes.Lines(frame) {
		n.traffic.write(what, peer, bytes.TrimSuffix(line, []byte("\n")))
	}
}
