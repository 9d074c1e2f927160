package node

import (
	"errors"
	"net"
	"syscall"
	"time"
)

// watchAfter is how long a question takes before its client is watched: most
// are answered sooner.
const watchAfter = 20 * time.Millisecond

var errVanished = errors.New("the client vanished while it waited")

// watch calls vanished when the client is gone while the session, in a question,
// reads nothing. Nothing of what the client sends is read, so that pipelined
// commands stay where they are. A client that only says that it has no more to
// say, as a half-close does, is not gone: it wants its replies. One that closes its
// end altogether sends no more than that, and so its question goes on; what tells
// is a reset.
//
// stop ends the watch and reports whether the client vanished. Connections that are
// not of a kernel, or of one that cannot tell, are not watched.
func (s *session) watch(vanished func()) (stop func() bool) {
	raw := rawConn(s.conn)
	if raw == nil {
		return func() bool { return false }
	}
	begun, gone := make(chan struct{}), make(chan bool, 1)
	timer := time.AfterFunc(watchAfter, func() {
		s.conn.SetReadDeadline(time.Time{}) // the one that was set may pass before the question ends
		close(begun)
		reset := false
		raw.Read(func(fd uintptr) bool { // called whenever something arrives; ends with stop
			reset = wasReset(fd)
			return reset
		})
		if reset {
			vanished()
		}
		gone <- reset
	})
	return func() bool {
		if timer.Stop() {
			return false
		}
		<-begun
		s.conn.SetReadDeadline(time.Unix(1, 0))
		s.deadline = time.Time{} // so that the next read sets it anew
		return <-gone
	}
}

// rawConn is the connection as the kernel knows it, also below TLS; nil if it does
// not.
func rawConn(conn net.Conn) syscall.RawConn {
	if over, ok := conn.(interface{ NetConn() net.Conn }); ok {
		conn = over.NetConn()
	}
	of, ok := conn.(syscall.Conn)
	if !ok {
		return nil
	}
	raw, err := of.SyscallConn()
	if err != nil {
		return nil
	}
	return raw
}
