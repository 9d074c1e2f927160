package node

import (
	"bytes"
	"context"
	"net"
	"runtime/debug"
	"sync"
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

// lookup is a WHATSAT that waits: for the server to get ready, and for a source of places.
type lookup struct {
	node    *Node
	line    []byte          // the command
	command wire.Command    // of line
	remote  string          // address of the client
	reply   replyBatch      // empty until run has ended
	serving context.Context // the session's
	early   bool            // it came before the server was ready: its record is found later
	ctx     context.Context // from begin on
	cancel  context.CancelFunc

	done     chan struct{} // closed when run has ended
	panicked *lookupPanic

	mu     sync.Mutex // guards what follows; Node.mu is taken while it is held
	found  bool
	record []byte // if found: the client's; nil if it is unknown
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
	l.ctx, l.cancel = context.WithDeadline(places.WithClient(l.node.lookups, l.remote), now.Add(whatsAtTimeout))
}

// find finds the client's record: that of now, unless it was found before.
func (l *lookup) find() (record []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.found {
		l.found = true
		l.record, _ = l.node.Record(l.command.Client)
	}
	return l.record
}

// run makes the reply.
func (l *lookup) run() {
	defer func() {
		if p := recover(); p != nil {
			l.panicked = &lookupPanic{p, l.line, debug.Stack()}
		}
		l.cancel()
		close(l.done)
	}()
	l.awaitReady()
	b := &l.reply
	b.text = l.node.appendWhatsAt(l.ctx, b.text, l.find(), l.command, l.line)
	b.replied(whatsAt, l.node.traffic != nil)
}

// runInTurn makes the reply of a lookup that does not run in a session's turn. It has a turn
// until it is done, but not longer than a session would wait.
func (l *lookup) runInTurn() {
	turns <- struct{}{}
	go l.run()
	timer := time.NewTimer(lookupGrace)
	defer timer.Stop()
	select {
	case <-l.done:
	case <-timer.C:
	}
	<-turns
	<-l.done
}

// awaitReady waits until the server is ready, unless it stops first.
func (l *lookup) awaitReady() {
	if l.node.ready.isOpen() {
		return
	}
	timer := time.NewTimer(readyTimeout)
	defer timer.Stop()
	select {
	case <-l.node.ready.opened:
	case <-timer.C:
	case <-l.serving.Done():
	case <-l.ctx.Done():
	}
}

// appendWhatsAt appends the reply to a WHATSAT. record is nil if the client is unknown.
func (n *Node) appendWhatsAt(ctx context.Context, out, record []byte, c wire.Command, line []byte) []byte {
	if record == nil {
		return wire.AppendInvalid(out, line)
	}
	r, err := wire.ParseRecord(record)
	if err != nil {
		panic("the map holds a line that is not a record: " + string(record)) // only parsed records are stored
	}
	lat, lon := r.Position()
	out = append(append(out, record...), '\n')
	return places.AppendResponse(ctx, out, n.cfg.Places, places.Query{Lat: lat, Lon: lon, Radius: c.Radius * 1000, Bound: c.Bound})
}

// whatsAt answers a WHATSAT, or lets a lookup do it. The record is that of now: reports
// behind it do not change the reply. Earlier replies do not wait for a lookup.
func (x *exchange) whatsAt(ctx context.Context, c wire.Command, line []byte) {
	n := x.s.node
	var record []byte
	ready := n.ready.isOpen()
	if ready {
		record, _ = n.Record(c.Client)
		if record == nil || c.Radius == 0 || c.Bound == 0 { // no source is asked
			x.out.text = n.appendWhatsAt(ctx, x.out.text, record, c, line)
			x.replied(whatsAt)
			return
		}
	}
	inTurn := x.s.myTurn
	if x.reply() != nil {
		return
	}
	if inTurn {
		x.s.takeTurn() // reply has ended it
	}
	l := &lookup{node: n, line: bytes.Clone(line), remote: x.s.remote, serving: ctx, done: make(chan struct{}), early: !ready, found: ready, record: record}
	l.command = wire.ParseCommand(l.line)
	l.reply.read = x.out.read
	if x.s.later != nil {
		x.s.endTurn() // there may be no room for long
		var queued bool
		if queued, x.err = x.s.later.addLookup(l); queued || x.err != nil {
			return
		}
		x.s.later = nil
	}
	x.lookUp(l)
}

// lookUp begins a lookup. Its reply is the next one. It is in out if the source is fast;
// else it is left to a replyQueue.
func (x *exchange) lookUp(l *lookup) {
	l.reply = x.out // it is empty; its buffer may be large
	x.out = replyBatch{read: l.reply.read}
	l.begin(time.Now())
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
	if socket, ok := socketOf(conn).(syscall.Conn); ok {
		if raw, err := socket.SyscallConn(); err == nil {
			raw.Control(do) // an error: it is closed
		}
	}
}
