package node

import (
	"bytes"
	"context"
	"errors"
	"time"

	"herd/bus"
)

const (
	// stall is how long a session waits for the flood before it takes the bus for
	// stalled; then nobody waits until the flood moves again.
	stall = 100 * time.Millisecond
)

// awaitFlood returns when all news up to t has been written to the bus for every
// neighbour, or is kept for those that are away. A bus that takes nothing for a
// while counts as away, and nobody else waits until it moves.
func (n *Node) awaitFlood(t ticket, s seat) {
	n.mu.Lock()
	stalled := n.flood.stalled && n.flood.done < t
	n.mu.Unlock()
	if stalled {
		n.flood.nudge()
		return
	}
	n.await(&n.flood, t, s, stall)
}

// runFlood floods what is wanted, as soon as it is and the bus has taken what was
// wanted before, until ctx ends. Under load the reports that come meanwhile share
// the next messages.
func (n *Node) runFlood(ctx context.Context) {
	f := flooder{node: n, left: make([]int, len(n.cfg.Neighbours)), frames: make([][]byte, len(n.cfg.Neighbours))}
	for {
		select {
		case <-ctx.Done():
			return
		case <-n.flood.kick:
		}
		n.mu.Lock()
		wanted := ticket(n.replica.News())
		for e := range f.left {
			f.left[e], _ = n.replica.Waiting(e)
		}
		n.mu.Unlock()
		failed := false
		for f.next() {
			failed = f.send() != nil || failed
		}
		n.mu.Lock()
		n.flood.failed = failed
		n.mu.Unlock()
		n.finish(&n.flood, wanted)
	}
}

// retryFlood lets the flood try again what failed, and await wait for that.
func (n *Node) retryFlood() {
	n.mu.Lock()
	n.flood.done = 0
	n.mu.Unlock()
	n.flood.nudge()
}

// flooder makes the messages of the flood, one an edge at a time: an edge that has
// much to catch up with does not hold up the others.
type flooder struct {
	node   *Node
	left   []int    // by edge, lines to write before those who wait may go
	frames [][]byte // by edge, room for one

	messages []bus.Message // the next, all to be sent at once
	edges    []int         // theirs
	lines    []int         // how many are in them
}

// next makes the next messages, one for each edge that has lines left and a
// neighbour that is up. It returns false when there are none.
func (f *flooder) next() bool {
	f.messages, f.edges, f.lines = f.messages[:0], f.edges[:0], f.lines[:0]
	n := f.node
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.bus != present || n.goodbye {
		return false
	}
	for e, left := range f.left {
		if _, up := n.replica.Waiting(e); left == 0 || !up {
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
