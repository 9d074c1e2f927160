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

// ticket counts news: replica.Replica.News.
type ticket uint64

// progress is how far one goroutine, the flood or the journal's, has come with
// what is news, and who waits for it. Guarded by Node.mu, but for kick.
type progress struct {
	kick    chan struct{} // there is something to do
	done    ticket        // up to here all is done
	waiting []waiting
	stalled bool // somebody has waited in vain, and nothing was done since
	failed  bool // the flood: a neighbour that is up could not be told, the last time
}

type waiting struct {
	ticket ticket
	seat   seat
}

// seat is where a session sits while it waits.
type seat struct {
	wake  chan struct{}
	timer *time.Timer
}

func newSeat() seat {
	timer := time.NewTimer(time.Hour)
	timer.Stop()
	return seat{make(chan struct{}, 1), timer}
}

func newProgress() progress { return progress{kick: make(chan struct{}, 1)} }

// nudge lets the goroutine look for something to do.
func (p *progress) nudge() {
	select {
	case p.kick <- struct{}{}:
	default: // it will look anyway
	}
}

// await returns true when all is done up to t, and false when that takes longer
// than patience.
func (n *Node) await(p *progress, t ticket, s seat, patience time.Duration) bool {
	n.mu.Lock()
	if p.done >= t {
		n.mu.Unlock()
		return true
	}
	p.waiting = append(p.waiting, waiting{t, s})
	n.mu.Unlock()
	p.nudge()
	s.timer.Reset(patience)
	select {
	case <-s.wake:
		s.timer.Stop()
		return true
	case <-s.timer.C:
	}
	n.mu.Lock()
	done := p.done >= t
	p.stalled = !done
	p.release(func(w waiting) bool { return w.seat == s })
	n.mu.Unlock()
	<-s.wake
	return done
}

// finish says that all is done up to t, and lets those go who waited for it.
func (n *Node) finish(p *progress, t ticket) {
	n.mu.Lock()
	defer n.mu.Unlock()
	p.done = max(p.done, t)
	p.stalled = false
	p.release(func(w waiting) bool { return w.ticket <= t })
}

// release wakes those that wait and are let go, and no others.
func (p *progress) release(letGo func(waiting) bool) {
	kept := p.waiting[:0]
	for _, w := range p.waiting {
		if letGo(w) {
			w.seat.wake <- struct{}{} // cannot block: one slot a seat, one wait at a time
		} else {
			kept = append(kept, w)
		}
	}
	p.waiting = kept
}

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

// nextTicket is the ticket of all news so far.
func (n *Node) nextTicket() ticket {
	n.mu.Lock()
	defer n.mu.Unlock()
	return ticket(n.replica.News())
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
