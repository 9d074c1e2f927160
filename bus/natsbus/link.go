package natsbus

import (
	"sync"

	"herd/bus"
)

// link is whether we are connected, and what the handler was told of that. nats.go's
// callbacks report to it, and take no lock of nats.go's for that: so the handler learns
// of a lost connection at once, also while nats.go dials.
type link struct {
	handler bus.Handler
	changed chan struct{} // receives a token when the connection came or went

	// mu is held while the handler's Connected runs, so that its calls are in order.
	mu       sync.Mutex
	number   int  // of connections that there have been
	up       bool // the last of them is there
	reported bool // the handler was told so
	closed   bool // nothing more is reported
}

func newLink(h bus.Handler) *link { return &link{handler: h, changed: make(chan struct{}, 1)} }

// connected notes that there is a new connection. The handler is told by report, once
// we can receive on it.
func (l *link) connected() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.number++
	l.up = true
	l.signal()
}

// disconnected notes that the connection was lost, and tells the handler.
func (l *link) disconnected() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.up = false
	if l.reported && !l.closed {
		l.handler.Connected(false)
	}
	l.reported = false
	l.signal()
}

// signal wakes who waits for changed; l.mu must be held.
func (l *link) signal() {
	select {
	case l.changed <- struct{}{}:
	default:
	}
}

// current is the number of the present connection, and whether there is one.
func (l *link) current() (number int, up bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.number, l.up
}

// report tells the handler that connection number is ready, unless it has been lost, or
// replaced, or reported already. It returns whether it told.
func (l *link) report(number int) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed || l.reported || !l.up || l.number != number {
		return false
	}
	l.reported = true
	l.handler.Connected(true)
	return true
}

// close ends all reports: the handler is not told that we disconnect ourselves.
func (l *link) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
}
