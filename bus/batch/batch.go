// Package batch decides when work that gathers in a queue is flushed. A flush costs
// about the same for one item as for many, so under load items should share it, and on
// an idle server nobody should wait.
package batch

import "time"

// Meter tells whether many items arrive. The zero Meter with its exported fields set is
// ready. It is not safe for concurrent use.
type Meter struct {
	Window time.Duration // the rate is measured over windows of at least this length
	Busy   int           // more items than this per Window are many

	began  time.Time
	items  int
	isBusy bool
}

// Add counts items that arrived at now. It reports whether that ended a window.
func (m *Meter) Add(items int, now time.Time) (windowEnded bool) {
	m.items += items
	elapsed := now.Sub(m.began)
	if elapsed < m.Window {
		return false
	}
	m.isBusy = float64(m.items) > float64(m.Busy)*float64(elapsed)/float64(m.Window) // the first window is centuries long
	m.began, m.items = now, 0
	return true
}

// IsBusy reports whether many items arrived in the last whole window.
func (m *Meter) IsBusy() bool { return m.isBusy }

// Policy says when waiting for more items pays. A zero field turns its rule off.
type Policy struct {
	// MaxDelay is how long a waiter waits for others at most.
	MaxDelay time.Duration
	// Busy: waiters wait for others if more items than this arrive per MaxDelay.
	Busy int
	// SlowFlush: waiters wait for others if the last flush took this long or longer, for
	// half of that time at most.
	SlowFlush time.Duration
	// Full is the number of queued items at which waiting ends.
	Full int

	// Items without waiters are flushed after MinLinger. If Full items or more are queued,
	// they are flushed after MaxLinger: newer items often replace queued ones.
	MinLinger, MaxLinger time.Duration
}

// Batcher applies a Policy to one queue. It expects as many waiters as there were in the
// last window (Member) or at the last flush (Flushed): clients that are answered at the
// same time send their next reports at about the same time. It is not safe for
// concurrent use.
type Batcher struct {
	policy   Policy
	load     Meter
	window   uint64 // number of the present window, from 1
	members  int    // of the present window
	expected int    // waiters
	flushed  time.Time
	took     time.Duration // the last flush
}

// New makes a Batcher for an empty queue.
func New(p Policy) Batcher {
	return Batcher{policy: p, load: Meter{Window: p.MaxDelay, Busy: p.Busy}, window: 1}
}

// Member counts a waiter in the present window. joined is the window in which it was
// counted last; each is counted once per window.
func (b *Batcher) Member(joined *uint64) {
	if *joined != b.window {
		*joined = b.window
		b.members++
	}
}

// Flushed notes a flush that ended at now: the number of items that it had, how many
// waiters there were, and how long it took.
func (b *Batcher) Flushed(items, waiters int, took time.Duration, now time.Time) {
	b.flushed, b.took = now, took
	if b.policy.Busy == 0 {
		b.expected = waiters
		return
	}
	if b.load.Add(items, now) {
		b.expected, b.members = b.members, 0
		b.window++
	}
}

// Queue is the state of a queue that may be flushed.
type Queue struct {
	Items   int
	Waiters int           // callers that wait for the flush
	Age     time.Duration // since the queue was found not to be empty
}

// Delay is how long the flush should wait for more items. Call it again when the queue
// changes or the delay has passed, until it is 0 or less.
func (b *Batcher) Delay(q Queue, now time.Time) time.Duration {
	p := &b.policy
	switch {
	case q.Waiters == 0 && p.Full > 0 && q.Items >= p.Full:
		return p.MaxLinger - q.Age
	case q.Waiters == 0:
		return p.MinLinger - q.Age
	case q.Waiters >= b.expected || p.Full > 0 && q.Items >= p.Full:
		return 0
	case p.Busy > 0 && b.load.IsBusy() && now.Sub(b.flushed) < p.MaxDelay:
		return p.MaxDelay - q.Age
	case p.SlowFlush > 0 && b.took >= p.SlowFlush:
		return min(b.took/2, p.MaxDelay) - q.Age
	}
	return 0
}
