package node

import "time"

// ticket numbers what there is to do: for the flood as replica.Replica.Wants does, for
// the journal as News.
type ticket uint64

// progress is how far one goroutine, the flood's or the journal's, has come with
// what is news, and who waits for it. Guarded by Node.mu, but for the channels.
type progress struct {
	kick    chan struct{} // there is something to do
	done    ticket        // up to here all is done
	waiting []waiting
	company int  // who waited when some were last let go: as many may wait again soon
	stalled bool // somebody has waited in vain, and nothing was done since
	failed  bool // a neighbour that is up could not be told, or the journal not take it, the last time
	keeping bool // what there is to do is kept back for company; whoever waits kicks
	over    bool // nobody waits any more: the server stops
}

type waiting struct {
	ticket ticket
	seat   seat
	last   *span // see flooder; nil for who is no session, or waits for the journal
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
// than patience. It is done by a goroutine of its own.
func (n *Node) await(p *progress, t ticket, s seat, patience time.Duration) bool {
	n.mu.Lock()
	if p.done >= t || p.over {
		defer n.mu.Unlock()
		return p.done >= t
	}
	p.waiting = append(p.waiting, waiting{t, s, nil})
	n.mu.Unlock()
	p.nudge()
	s.timer.Reset(patience)
	select {
	case <-s.wake:
		s.timer.Stop()
	case <-s.timer.C:
		n.leave(p, s)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	p.stalled = p.done < t
	return p.done >= t
}

// leave makes s wait no longer, if it still does, and its seat ready for the next
// time.
func (n *Node) leave(p *progress, s seat) {
	n.mu.Lock()
	p.release(func(w waiting) bool { return w.seat == s })
	n.mu.Unlock()
	<-s.wake
}

// finish says that all is done up to t, and lets those go who waited for it. The
// lock is held.
func (p *progress) finish(t ticket) {
	p.done = max(p.done, t)
	p.stalled = false
	p.company = len(p.waiting)
	p.release(func(w waiting) bool { return w.ticket <= t })
}

// abandon lets all go who wait, and whoever comes to.
func (n *Node) abandon(p *progress) {
	n.mu.Lock()
	defer n.mu.Unlock()
	p.over = true
	p.release(func(waiting) bool { return true })
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

// wanted is the flood's ticket of all that is wanted so far.
func (n *Node) wanted() ticket {
	n.mu.Lock()
	defer n.mu.Unlock()
	return ticket(n.replica.Wants())
}
