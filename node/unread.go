package node

import (
	"context"
	"errors"
	"io"
	"net"
	"time"
)

// socketBuffer is the size of the kernel's buffers of a connection: for replies, and for
// commands that we have not read, because the client takes no replies. Linux counts its own
// costs, too, and doubles it: each holds 256 KB of its memory at most. Without a fixed size
// they grow to megabytes.
const socketBuffer = 128 << 10

// errStuck is why such a client is disconnected.
var errStuck = errors.New("the client takes nothing of its replies")

// limitBuffers bounds what the kernel keeps of a connection.
func limitBuffers(conn net.Conn) {
	if tcp := tcpConn(conn); tcp != nil {
		tcp.SetWriteBuffer(socketBuffer) // an error: the connection is broken, and reading will say so
		tcp.SetReadBuffer(socketBuffer)
	}
}

// unread is what a session knows of replies that the kernel has accepted and the client
// has not taken: writing them did not block, so only the kernel can tell. The zero unread
// is ready.
type unread struct {
	checked time.Time // when we last asked the kernel
	since   time.Time // the client has taken nothing since then; zero: nothing waits for it
	acked   uint64    // bytes that it had taken by then
}

// waits reports whether replies waited for the client when we last looked.
func (u *unread) waits() bool { return !u.since.IsZero() }

// stuck reports whether replies have waited for limit, and the client has taken nothing
// meanwhile. It asks the kernel. Where that does not tell, it is false.
func (u *unread) stuck(conn net.Conn, now time.Time, limit time.Duration) bool {
	u.checked = now
	waiting, _ := unacknowledged(conn)
	acked, open := uint64(0), false
	if waiting > 0 {
		acked, open = acknowledged(conn)
	}
	if !open {
		u.since = time.Time{}
		return false
	}
	if !u.waits() || acked != u.acked {
		u.since, u.acked = now, acked
	}
	return now.Sub(u.since) >= limit
}

// takesNothing looks whether a client that sends commands all the time takes its replies,
// a few times per time limit.
func (s *session) takesNothing(now time.Time) bool {
	limit := s.node.cfg.Limits.Write
	if now.Sub(s.unread.checked) < unreadStep(limit) {
		return false
	}
	return s.unread.stuck(s.conn, now, limit)
}

// unreadStep is the time between two looks.
func unreadStep(limit time.Duration) time.Duration { return max(limit/writeChecks, time.Millisecond) }

// noteStuck counts a client that took nothing of its replies for the time limit. Its
// connection will be reset: a kernel that must still deliver would keep the replies.
func (s *session) noteStuck() {
	s.reset = true
	s.node.refuse(writeTimeout, 1, s.remote, nil)
}

// close closes the connection so that the client gets everything that was written to it,
// although it may have sent more than we read, as long as it takes something within the
// time limit each time. A stop does not wait for it: the kernel delivers what it can.
func (s *session) close(ctx context.Context) {
	defer s.conn.Close()
	tcp := tcpConn(s.conn)
	if half, ok := s.conn.(interface{ CloseWrite() error }); ok && !s.reset && half.CloseWrite() == nil {
		s.conn.SetReadDeadline(time.Now().Add(lingerTimeout))
		io.Copy(io.Discard, s.conn)
		s.reset = tcp != nil && !s.awaitTaken(ctx)
	}
	if s.reset && tcp != nil {
		tcp.SetLinger(0)
		tcp.Close() // or TLS would wait to write its last alert
	}
}

// awaitTaken returns true when the client has taken all replies, or the server stops. It
// returns false if the client takes nothing for the time limit.
func (s *session) awaitTaken(ctx context.Context) bool {
	limit := s.node.cfg.Limits.Write
	for ctx.Err() == nil {
		if s.unread.stuck(s.conn, time.Now(), limit) {
			s.noteStuck()
			return false
		}
		if !s.unread.waits() {
			return true
		}
		wait(ctx, nil, unreadStep(limit))
	}
	return true
}

// tcpConn is the TCP connection below conn; nil if there is none.
func tcpConn(conn net.Conn) *net.TCPConn {
	tcp, _ := socketOf(conn).(*net.TCPConn)
	return tcp
}
