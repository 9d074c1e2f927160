package node

import (
	"bytes"
	"context"
	"errors"
	"time"

	"herd/bus"
)

const (
	// frameSize is about how many bytes of lines one message holds at most.
	frameSize = 32 << 10
	// stall is how long a session waits for the flood before it takes the bus for
	// stalled; then nobody waits until the flood moves again.
	stall = 100 * time.Millisecond
)

// ticket counts what sessions have wanted flooded.
type ticket uint64

// flood is the account of what is wanted and what has been written to the bus.
// Guarded by Node.mu, but for kick.
type flood struct {
	kick    chan struct{} // there is something to do
	wanted  ticket        // how many reports have been news
	done    ticket        // up to here all has been written, or is kept for edges that are away
	waiting []waiting
	stalled bool
}

type waiting struct {
	ticket ticket
	seat   seat
}

// seat is where a session sits while it waits for the flood.
type seat struct {
	wake  chan struct{}
	timer *time.Timer
}

func newSeat() seat {
	timer := time.NewTimer(time.Hour)
	timer.Stop()
	return seat{make(chan struct{}, 1), timer}
}

// kickFlood lets the flood look for something to do.
func (n *Node) kickFlood() {
	select {
	case n.flood.kick <- struct{}{}:
	default: // it will look anyway
	}
}

// awaitFlood returns when all that was wanted up to t has been written to the bus
// for every neighbour, or is kept for those that are away. A bus that takes
// nothing for a while counts as away.
func (n *Node) awaitFlood(t ticket, s seat) {
	n.mu.Lock()
	f := &n.flood
	if f.done >= t {
		n.mu.Unlock()
		return
	}
	stalled := f.stalled
	if !stalled {
		f.waiting = append(f.waiting, waiting{t, s})
	}
	n.mu.Unlock()
	n.kickFlood()
	if stalled {
		return
	}
	s.timer.Reset(stall)
	select {
	case <-s.wake:
		s.timer.Stop()
	case <-s.timer.C:
		n.mu.Lock()
		f.stalled = f.done < t
		f.release(func(w waiting) bool { return w.seat == s })
		n.mu.Unlock()
		<-s.wake
	}
}

// release wakes those that wait and are let go, and no others.
func (f *flood) release(letGo func(waiting) bool) {
	kept := f.waiting[:0]
	for _, w := range f.waiting {
		if letGo(w) {
			w.seat.wake <- struct{}{} // cannot block: one slot a seat, one wait at a time
		} else {
			kept = append(kept, w)
		}
	}
	f.waiting = kept
}

// runFlood floods what is wanted, as soon as it is and the bus has taken what was
// wanted before, until ctx ends. Under load the reports that come meanwhile share
// the next messages.
func (n *Node) runFlood(ctx context.Context) {
	buf := make([]byte, 0, frameSize)
	for {
		select {
		case <-ctx.Done():
			return
		case <-n.flood.kick:
		}
		n.mu.Lock()
		wanted := n.flood.wanted
		n.mu.Unlock()
		for e := range n.cfg.Neighbours {
			buf = n.floodEdge(e, buf)
		}
		n.mu.Lock()
		n.flood.done = max(n.flood.done, wanted)
		n.flood.stalled = false
		n.flood.release(func(w waiting) bool { return w.ticket <= wanted })
		n.mu.Unlock()
	}
}

// floodEdge writes to the bus what edge e wants now, if the neighbour is up and
// the bus there; what gets wanted meanwhile may wait for the next time.
func (n *Node) floodEdge(e int, buf []byte) []byte {
	peer := n.cfg.Neighbours[e]
	for left := -1; left != 0; {
		n.mu.Lock()
		waiting, up := n.replica.Waiting(e)
		if left < 0 {
			left = waiting
		}
		if left == 0 || !up || n.bus != present || n.goodbye {
			n.mu.Unlock()
			return buf
		}
		frame, mark, lines := n.replica.Fill(e, buf[:0], frameSize)
		n.mu.Unlock()
		if lines == 0 {
			return buf
		}
		buf = frame
		left = max(0, left-lines)

		err := n.cfg.Bus.Send(bus.Message{Lane: bus.Edge, Peer: peer, Epoch: mark.Epoch, Seq: mark.Seq, Data: frame})
		n.mu.Lock()
		switch {
		case err == nil:
			n.replica.Sent(e)
		case !errors.Is(err, bus.ErrTooLarge): // what is too large will never be sent: trying again would hold up the rest
			n.replica.Unsent(e)
		}
		n.mu.Unlock()
		switch {
		case err == nil:
			n.logRecords("edge out", peer, frame)
		case errors.Is(err, bus.ErrTooLarge):
			n.log.Error("records not sent: the bus takes no messages of this size", "edge", peer, "records", lines, "err", err)
		default:
			n.log.Debug("flood", "edge", peer, "err", err)
			return buf // Connected or the pulse will bring us back
		}
	}
	return buf
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
