package load

import "time"

// pace sends, for all connections, each command when it is due, until the bounds
// are reached or no connection is left. Commands take the connections in turn. One
// that is due while its connection has no room is late, and so are those behind it
// on that connection; their latencies say so.
func (r *run) pace() {
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
		soon := now + time.Millisecond // to look again at connections that had no room, and at the bounds
		for i, c := range r.conns {
			if failed[i] || c.left == 0 || c.over.Load() {
				continue
			}
			working = true
			sent := c.sent.Load()
			first := due(sent, i)
			if first > now {
				soon = min(soon, first)
				continue
			}
			n := 1 + int((now-first)/max(1, step))
			if n = c.take(min(n, c.room())); n == 0 {
				continue
			}
			c.prepare(n, first, step)
			if err := c.send(n); err != nil {
				failed[i] = true // and what the receiver learns of it is the error to report
			} else {
				soon = min(soon, due(sent+uint64(n), i))
			}
		}
		pause(soon - time.Since(r.start))
	}
	now := time.Since(r.start)
	for i, c := range r.conns {
		if first := due(c.sent.Load(), i); first < now && c.left > 0 && c.room() == 0 {
			r.unsent += min(c.left, 1+int((now-first)/max(1, step)))
		}
	}
}

// allIsSent lets receivers end that have all their replies.
func (r *run) allIsSent() {
	r.allSent.Store(true)
	for _, c := range r.conns {
		if c.inFlight() == 0 {
			c.socket.SetReadDeadline(time.Now())
		}
	}
}
