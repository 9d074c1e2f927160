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
	var buf []byte
	for {
		select {
		case <-ctx.Done():
			return
		case <-n.flood.kick:
		}
		wanted := n.nextTicket()
		failed := false
		left := make([]int, len(n.cfg.Neighbours)) // lines to write for each, before those who wait may go
		n.mu.Lock()
		for e := range left {
			left[e], _ = n.replica.Waiting(e)
		}
		n.mu.Unlock()
		for busy := true; busy; { // in turns: an edge that has much to catch up with does not hold up the others
			busy = false
			for e := range left {
				if left[e] > 0 {
					var err error
					buf, left[e], err = n.floodEdge(e, buf, left[e])
					busy = busy || left[e] > 0
					failed = failed || err != nil
				}
			}
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

// floodEdge writes to the bus one message of what edge e wants, if the neighbour
// is up and the bus there. It returns how many of left lines are still to be
// written now, and an error if the message was not sent and its records wait on.
func (n *Node) floodEdge(e int, buf []byte, left int) ([]byte, int, error) {
	peer := n.cfg.Neighbours[e]
	n.mu.Lock()
	if _, up := n.replica.Waiting(e); !up || n.bus != present || n.goodbye {
		n.mu.Unlock()
		return buf, 0, nil
	}
	frame, mark, lines := n.replica.Fill(e, buf[:0])
	n.mu.Unlock()
	if lines == 0 {
		return buf, 0, nil
	}
	err := n.cfg.Bus.Send(bus.Message{Lane: bus.Edge, Peer: peer, Epoch: mark.Epoch, Seq: mark.Seq, Data: frame})
	n.mu.Lock()
	switch {
	case err == nil:
		n.replica.Sent(e)
	case errors.Is(err, bus.ErrTooLarge): // one line that will never be sent: trying again would hold up the rest
		n.unsendable += lines
	default:
		n.replica.Unsent(e)
	}
	n.mu.Unlock()
	switch {
	case err == nil:
		n.logRecords("edge out", peer, frame)
	case errors.Is(err, bus.ErrTooLarge):
		n.log.Error("record not sent: the bus takes no messages of its size", "edge", peer, "records", lines, "err", err)
	default:
		n.log.Debug("flood", "edge", peer, "err", err)
		return frame, 0, err // Connected or the pulse will bring us back
	}
	return frame, max(0, left-lines), nil
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
