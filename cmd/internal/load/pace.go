package load

import "time"

// sendAtRate sends each command of all connections when it is due, until Duration or
// Count is reached or every connection has failed. Connections take turns. A command that
// is due while its connection has no free slot is late, and delays those after it on the
// connection; latencies count from the due time.
func (r *run) sendAtRate() {
	defer r.allIsSent()
	conns := len(r.conns)
	due := func(n uint64, c int) time.Duration { // of the connection's command n
		return time.Duration((float64(n)*float64(conns) + float64(c)) / r.cfg.Rate * 1e9)
	}
	step := due(1, 0)
	failed := make([]bool, conns)
	for working := true; working && !r.stopped.Load(); {
		working = false
		now := time.Since(r.start)
		next := now + time.Millisecond // to check connections without a free slot, and the limits, again
		for i, c := range r.conns {
			if failed[i] || c.remaining == 0 || c.ended.Load() {
				continue
			}
			working = true
			sent := c.sent.Load()
			first := due(sent, i)
			if first > now {
				next = min(next, first)
				continue
			}
			n := 1 + int((now-first)/max(1, step))
			if n = c.reserve(min(n, c.freeSlots())); n == 0 {
				continue
			}
			c.prepare(n, first, step)
			if err := c.send(n); err != nil {
				failed[i] = true // the receiver reports the error
			} else {
				next = min(next, due(sent+uint64(n), i))
			}
		}
		pause(next - time.Since(r.start))
	}
	now := time.Since(r.start)
	for i, c := range r.conns {
		if first := due(c.sent.Load(), i); first < now && c.remaining > 0 && c.freeSlots() == 0 {
			r.unsent += min(c.remaining, 1+int((now-first)/max(1, step)))
		}
	}
}

// allIsSent makes receivers return that have all their replies.
func (r *run) allIsSent() {
	r.allSent.Store(true)
	for _, c := range r.conns {
		if c.inFlight() == 0 {
			c.socket.SetReadDeadline(time.Now())
		}
	}
}
