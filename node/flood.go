package node

import (
	"bytes"
	"context"
	"errors"
	"time"

	"herd/bus"
)

// The flood sends what is news to the neighbours, in passes: each makes one message
// an edge of all that is wanted there, and all of them leave in one write. A message
// costs what some tens of lines cost, at each server that it passes, so records are
// to have company in it, and nobody is to wait for company that will not come:
//
//   - A session that waits for its records to be flooded makes the pass itself,
//     unless others are about to join it: as many as the last pass let go. Clients
//     that send one report after the other so share passes, and one that is alone
//     waits for nobody.
//   - What neighbours bring is passed on at once by a server that has little to do.
//     One that is busy keeps it back for a moment.
const (
	// keptBack is how long records wait for company at most. A timer may be a
	// millisecond late.
	keptBack = time.Millisecond
	// busyLines in that time are more than a lone client reports that waits for each
	// reply.
	busyLines = 20
	// fullMessage lines are company enough. More than that, the backlog of a
	// neighbour that came back, is not for a session to send.
	fullMessage = 256
	// stall is how long a session waits for the flood before it takes the bus for
	// stalled; then nobody waits until the flood moves again.
	stall = 100 * time.Millisecond
	// surePasses is after how many that had the company they expected one waits for
	// one more.
	surePasses = 256
)

// awaitFlood returns when all news up to t has been written to the bus for every
// neighbour, or is kept for those that are away. A bus that takes nothing for a
// while counts as away, and nobody else waits until it moves.
func (n *Node) awaitFlood(t ticket, s seat) {
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
	p.waiting = append(p.waiting, waiting{t, s})
	expected, much := f.expected(), f.wanted() > fullMessage
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
	}
	n.leave(p, s)
}

// runFlood floods what no session does: what neighbours bring, what could not be
// sent before, and what is much; until ctx ends.
func (n *Node) runFlood(ctx context.Context) {
	keep := time.NewTimer(time.Hour)
	for {
		select {
		case <-ctx.Done():
			return
		case <-n.flood.kick:
		}
		if n.keepBack() {
			keep.Reset(keptBack)
			select {
			case <-n.flood.kick:
			case <-keep.C:
			case <-ctx.Done():
			}
			n.mu.Lock()
			n.flood.keeping = false
			n.mu.Unlock()
		}
		<-n.flooder.turn
		n.flooder.pass()
		n.flooder.turn <- struct{}{}
	}
}

// keepBack tells whether what is wanted can wait for company, and is kept back then.
func (n *Node) keepBack() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.flood.keeping = n.flooder.busy && len(n.flood.waiting) == 0 && n.flooder.wanted() < fullMessage
	return n.flood.keeping
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
	lines    []int         // how many are in them

	// Guarded by Node.mu:

	company int       // sessions that may be expected to wait
	sure    int       // passes that had all of them
	ended   time.Time // when the last pass did

	busy  bool      // many lines were wanted, of late
	count int       // how many, over the edge that wanted most
	since time.Time // when they were counted from
}

func newFlooder(n *Node) flooder {
	edges := len(n.cfg.Neighbours)
	f := flooder{node: n, turn: make(chan struct{}, 1), left: make([]int, edges), frames: make([][]byte, edges)}
	f.turn <- struct{}{}
	return f
}

// pass floods all that is wanted now, and lets those go who wait for that.
func (f *flooder) pass() {
	n := f.node
	n.mu.Lock()
	news := ticket(n.replica.News())
	for e := range f.left {
		f.left[e], _ = n.replica.Waiting(e)
	}
	f.count += f.wanted()
	n.mu.Unlock()
	failed := false
	for f.next() {
		failed = f.send() != nil || failed
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.flood.failed = failed
	f.passed(n.flood.finish(news))
}

// passed takes note of a pass that let go so many sessions. The lock is held.
func (f *flooder) passed(letGo int) {
	f.ended = time.Now()
	if elapsed := f.ended.Sub(f.since); elapsed >= keptBack {
		f.busy = time.Duration(f.count)*keptBack > busyLines*elapsed
		f.count, f.since = 0, f.ended
	}
	switch {
	case letGo < f.company: // in vain: that there are more is not tried again soon
		f.company, f.sure = letGo, -surePasses
	case letGo > f.company || letGo < 2:
		f.company, f.sure = letGo, 0
	default:
		if f.sure++; f.sure > 0 {
			f.company++
		}
	}
}

// expected tells whether more sessions are about to wait: those that the last pass
// let go, unless that is long ago. The lock is held.
func (f *flooder) expected() bool {
	return len(f.node.flood.waiting) < f.company && time.Since(f.ended) < keptBack
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
	f.messages, f.edges, f.lines = f.messages[:0], f.edges[:0], f.lines[:0]
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
		f.messages = append(f.messages, bus.Message{Lane: bus.Edge, Peer: n.cfg.Neighbours[e], Epoch: mark.Epoch, Seq: mark.Seq, Data: frame})
		f.edges, f.lines = append(f.edges, e), append(f.lines, lines)
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
	n, e, lines, m := f.node, f.edges[i], f.lines[i], f.messages[i]
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
