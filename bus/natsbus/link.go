package natsbus

import (
	"sync"

	"herd/bus"
)

// link is the state of the connection, and what the handler knows of it. nats.go's
// callbacks update it without taking a lock of nats.go's. So the handler learns of a lost
// connection at once, even while nats.go dials.
type link struct {
	handler bus.Handler
	changed chan struct{} // receives a token when the connection came or went

	// mu is held while the handler's Connected runs, so that its calls are in order.
	mu       sync.Mutex
	number   int  // connections so far
	up       bool // the last one is connected
	reported bool // the handler knows that it is
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

// signal wakes the receiver of changed. l.mu is held.
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
