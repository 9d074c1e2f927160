package natsbus

import (
	"sync"

	"herd/bus"
)

// link is what the handler knows of the connection. nats.go's callbacks update it without
// taking a lock of nats.go's. So the handler learns of a lost connection at once, whatever
// else goes on.
type link struct {
	handler bus.Handler

	// mu is held while the handler's Connected runs, so that its calls are in order.
	mu       sync.Mutex
	number   int  // connections so far, and attempts
	up       bool // the last one has not been lost
	reported bool // the handler knows that it is
	closed   bool // nothing more is reported
}

func newLink(h bus.Handler) *link { return &link{handler: h} }

// begin notes that a new connection is being made, and returns its number. The handler is
// told by report, once we can receive on it.
func (l *link) begin() (number int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.number++
	l.up = true
	return l.number
}

// disconnected notes that connection number was lost, and tells the handler.
func (l *link) disconnected(number int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.number != number {
		return
	}
	l.up = false
	if l.reported && !l.closed {
		l.handler.Connected(false)
	}
	l.reported = false
}

// isReported reports whether the handler knows that there is a connection.
func (l *link) isReported() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.reported
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
