package node

import (
	"bytes"
	"context"
	"net"
	"runtime/debug"
	"syscall"
	"time"

	"herd/node/wire"
	"herd/places"
)

const (
	// whatsAtTimeout is how long a WHATSAT may take, and readyTimeout how long of that it
	// waits for the server to get ready. Behind another lookup its time begins later.
	whatsAtTimeout = 10 * time.Second
	readyTimeout   = 5 * time.Second
	// lookupGrace is how long a session waits for a lookup before it handles further
	// commands meanwhile. The built-in source is faster.
	lookupGrace = 2 * time.Millisecond
	// resetPoll is how often a session that does not read, because replies wait behind a
	// lookup, looks whether its client has reset the connection.
	resetPoll = 100 * time.Millisecond
)

// lookup is a WHATSAT for which a source of places is asked.
type lookup struct {
	node   *Node
	line   []byte // the command, for logs
	query  places.Query
	reply  replyBatch // its text is the record's line; run adds the places
	ctx    context.Context
	cancel context.CancelFunc

	done     chan struct{} // closed when run has ended
	panicked *lookupPanic
}

// lookupPanic is the panic of a lookup, in the goroutine that made it.
type lookupPanic struct {
	value any
	input []byte
	stack []byte
}

// begin starts the lookup's time. A stop gives lookups some time, so it is not the
// session's context that ends them.
func (l *lookup) begin(now time.Time) {
	l.ctx, l.cancel = context.WithDeadline(l.node.lookups, now.Add(whatsAtTimeout))
}

// run completes the reply.
func (l *lookup) run() {
	defer func() {
		if p := recover(); p != nil {
			l.panicked = &lookupPanic{p, l.line, debug.Stack()}
		}
		l.cancel()
		close(l.done)
	}()
	b := &l.reply
	b.text = places.AppendResponse(l.ctx, b.text, l.node.cfg.Places, l.query)
	b.replied(whatsAt, l.node.traffic != nil)
}

// whatsAt answers a WHATSAT, or lets a lookup do it. The record is that of now: reports
// behind it do not change the reply. Earlier replies do not wait for a lookup.
func (x *exchange) whatsAt(ctx context.Context, c wire.Command, line []byte) {
	n := x.s.node
	began := time.Now()
	if !n.ready.isOpen() {
		if x.reply() != nil {
			return
		}
		wait(ctx, n.ready.opened, readyTimeout)
	}
	stored, ok := n.Record(c.Client)
	if !ok {
		x.out.text = wire.AppendInvalid(x.out.text, line)
		x.replied(whatsAt)
		return
	}
	record, err := wire.ParseRecord(stored)
	if err != nil {
		panic("the map holds a line that is not a record: " + string(stored)) // only parsed records are stored
	}
	lat, lon := record.Position()
	q := places.Query{Lat: lat, Lon: lon, Radius: c.Radius * 1000, Bound: c.Bound}
	if q.Empty() {
		x.out.text = append(append(x.out.text, stored...), '\n')
		x.out.text = places.AppendResponse(ctx, x.out.text, n.cfg.Places, q)
		x.replied(whatsAt)
		return
	}
	if x.reply() != nil {
		return
	}
	l := &lookup{node: n, line: bytes.Clone(line), query: q, done: make(chan struct{})}
	if x.s.later != nil {
		var queued bool
		l.reply = replyBatch{text: append(stored, '\n'), read: x.out.read}
		if queued, x.err = x.s.later.addLookup(l); queued || x.err != nil {
			return
		}
		x.s.later = nil
	}
	x.lookUp(l, stored, began)
}

// lookUp begins a lookup. Its reply is the next one. It is in out if the source is fast;
// else it is left to a replyQueue.
func (x *exchange) lookUp(l *lookup, stored []byte, began time.Time) {
	l.reply = x.out // is empty; its buffer may be large
	l.reply.text = append(append(l.reply.text, stored...), '\n')
	x.out = replyBatch{read: l.reply.read}
	l.begin(began)
	go l.run()
	timer := x.waiter.timer
	timer.Reset(lookupGrace)
	select {
	case <-l.done:
		timer.Stop()
		if l.panicked != nil {
			panic(l.panicked)
		}
		x.out = l.reply
	case <-timer.C:
		x.s.later = newReplyQueue(x.s, l)
	}
}

// wasReset reports whether the peer has reset a connection. A client that closes its
// connection without a reset cannot be told from one that only half-closes it and still
// reads: its lookup goes on.
func wasReset(conn net.Conn) (reset bool) {
	onSocket(conn, func(fd uintptr) { reset = hasError(fd) })
	return reset
}

// onSocket calls do with the socket below conn, if there is one and it is open.
func onSocket(conn net.Conn, do func(fd uintptr)) {
	for {
		wrapper, ok := conn.(interface{ NetConn() net.Conn }) // TLS
		if !ok {
			break
		}
		conn = wrapper.NetConn()
	}
	if socket, ok := conn.(syscall.Conn); ok {
		if raw, err := socket.SyscallConn(); err == nil {
			raw.Control(do) // an error: it is closed
		}
	}
}
