package node

import (
	"context"
	"net"
	"syscall"
	"time"

	"herd/node/wire"
	"herd/places"
)

const (
	// whatsAtTimeout is how long a WHATSAT may take, and readyTimeout how long of that it
	// waits for the server to get ready.
	whatsAtTimeout = 10 * time.Second
	readyTimeout   = 5 * time.Second
	// resetPoll is how often a lookup looks whether its client has reset the connection.
	resetPoll = 100 * time.Millisecond
)

// whatsAt appends the reply to a WHATSAT, whose line is given too.
func (s *session) whatsAt(ctx context.Context, out []byte, c wire.Command, line []byte) []byte {
	n := s.node
	began := time.Now()
	if !n.ready.isOpen() {
		wait(ctx, n.ready.opened, readyTimeout)
	}
	stored, ok := n.Record(c.Client)
	if !ok {
		return wire.AppendInvalid(out, line)
	}
	record, err := wire.ParseRecord(stored)
	if err != nil {
		panic("the map holds a line that is not a record: " + string(stored)) // only parsed records are stored
	}
	lat, lon := record.Position()
	q := places.Query{Lat: lat, Lon: lon, Radius: c.Radius * 1000, Bound: c.Bound}
	out = append(append(out, stored...), '\n')
	// A stop gives lookups some time, so it is not ctx that ends them.
	lookup, cancel := context.WithDeadline(n.lookups, began.Add(whatsAtTimeout))
	defer cancel()
	if !q.Empty() {
		go cancelOnReset(lookup, s.conn, cancel)
	}
	return places.AppendResponse(lookup, out, n.cfg.Places, q)
}

// cancelOnReset cancels a lookup if its client resets the connection, until ctx ends. A
// client that closes its connection without a reset cannot be told from one that only
// half-closes it and still reads: its lookup goes on.
func cancelOnReset(ctx context.Context, conn net.Conn, cancel func()) {
	if secure, ok := conn.(interface{ NetConn() net.Conn }); ok { // TLS
		conn = secure.NetConn()
	}
	socket, ok := conn.(syscall.Conn)
	if !ok {
		return
	}
	raw, err := socket.SyscallConn()
	if err != nil {
		return
	}
	tick := time.NewTicker(resetPoll)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			reset := false
			if raw.Control(func(fd uintptr) { reset = wasReset(fd) }) != nil || reset {
				cancel()
				return
			}
		}
	}
}
