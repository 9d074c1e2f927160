package node

import (
	"slices"
	"time"
)

// waitQueue is sessions that wait until work has been done up to a sequence number. The
// flood has one and the journal has one. Node.mu guards it. The zero waitQueue is ready.
type waitQueue struct {
	done    uint64 // all work up to this number is done
	waiting []waitingFor
	stalled bool // a wait timed out, and nothing has been done since
	closed  bool // the server stops: waiting has ended
}

type waitingFor struct {
	seq uint64
	w   *waiter
}

// waiter is one session's place in a waitQueue: in one at a time.
type waiter struct {
	woken chan struct{} // capacity 1
	timer *time.Timer
}

func newWaiter() waiter {
	timer := time.NewTimer(time.Hour)
	timer.Stop()
	return waiter{make(chan struct{}, 1), timer}
}

// sleep waits until the waiter is woken, for d at most, and reports whether it was.
func (w *waiter) sleep(d time.Duration) bool {
	w.timer.Reset(d)
	select {
	case <-w.woken:
		w.timer.Stop()
		return true
	case <-w.timer.C:
		return false
	}
}

// mustWait reports whether work up to seq is not done and can be waited for.
func (q *waitQueue) mustWait(seq uint64) bool { return q.done < seq && !q.closed }

// add makes w wait for seq. It is woken once: by advance, close or remove.
func (q *waitQueue) add(seq uint64, w *waiter) {
	q.waiting = append(q.waiting, waitingFor{seq, w})
}

// advance notes that all work up to seq is done, and wakes those who wait for that.
func (q *waitQueue) advance(seq uint64) {
	q.done = max(q.done, seq)
	q.stalled = false
	q.wake(func(f waitingFor) bool { return f.seq <= seq })
}

// remove wakes w if it still waits.
func (q *waitQueue) remove(w *waiter) {
	q.wake(func(f waitingFor) bool { return f.w == w })
}

// close wakes all waiters. From then on mustWait is false.
func (q *waitQueue) close() {
	q.closed = true
	q.wake(func(waitingFor) bool { return true })
}

// wake wakes those that match and removes them. It clears the freed slots, so that no
// ended session stays reachable.
func (q *waitQueue) wake(match func(waitingFor) bool) {
	q.waiting = slices.DeleteFunc(q.waiting, func(f waitingFor) bool {
		if !match(f) {
			return false
		}
		f.w.woken <- struct{}{} // does not block: capacity 1, and one wait at a time
		return true
	})
}
