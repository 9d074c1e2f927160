package node

import (
	"crypto/tls"
	"errors"
	"net"
	"os"
	"time"
)

// replyBatch is complete replies that leave in one write.
type replyBatch struct {
	text  []byte
	ends  []int     // of each reply in text; for the traffic log only
	count replies   // by the kind of their commands
	read  time.Time // when the commands were read
}

// replied notes that text ends with a complete reply. logged says that there is a traffic
// log.
func (b *replyBatch) replied(to command, logged bool) {
	b.count[to]++
	if logged {
		b.ends = append(b.ends, len(b.text))
	}
}

// clear forgets the replies and keeps the buffers.
func (b *replyBatch) clear() {
	b.text, b.ends, b.count = b.text[:0], b.ends[:0], replies{}
}

// reply writes replies, or queues them behind a lookup of places. The caller may use the
// buffers again.
func (s *session) reply(b *replyBatch) error {
	if s.later != nil {
		if queued, err := s.later.addReplies(b); queued || err != nil {
			return err
		}
		s.later = nil // all that was queued has been written
	}
	return s.write(b)
}

// write writes replies, counts and logs them. One goroutine at a time calls it: that of
// the session's replyQueue while there is one.
func (s *session) write(b *replyBatch) (err error) {
	if _, secure := s.conn.(*tls.Conn); secure { // a patientConn is below it
		_, err = s.conn.Write(b.text)
	} else {
		_, err = writeAll(s.conn, b.text, s.node.cfg.Limits.Write)
	}
	switch {
	case err == nil:
		s.node.noteLatency(b.count, time.Since(b.read))
	case errors.Is(err, os.ErrDeadlineExceeded):
		s.noteStuck()
	}
	begin := 0
	for _, end := range b.ends {
		s.log("client out", b.text[begin:end-1])
		begin = end
	}
	return err
}

// writeChecks is the number of times within the time limit that a blocked write checks
// whether the client takes anything.
const writeChecks = 10

// writeAll writes p, in one write unless the client is slow. It fails once the client has
// taken nothing for limit, or a tenth longer. It has taken something if its kernel has
// acknowledged bytes; where the kernel does not tell, if ours has accepted some. Each call
// has its own deadline, whatever it was before.
func writeAll(conn net.Conn, p []byte, limit time.Duration) (n int, err error) {
	step := max(limit/writeChecks, time.Millisecond)
	var taken time.Time        // when the client last took something
	unacked, known := 0, false // bytes in the kernel's queue, when we last looked
	for {
		began := time.Now()
		conn.SetWriteDeadline(began.Add(step)) // Write returns its error
		written, err := conn.Write(p[n:])
		n += written
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			return n, err
		}
		before, knownBefore := unacked, known
		unacked, known = unacknowledged(conn)
		took := written > 0
		if known && knownBefore {
			took = written > unacked-before
		}
		switch now := time.Now(); {
		case took:
			taken = now
		case taken.IsZero():
			taken = began
			fallthrough
		default:
			if now.Sub(taken) >= limit {
				return n, err
			}
		}
	}
}

// unacknowledged is the number of bytes that were written to a connection and that the
// peer has not acknowledged, if the kernel tells.
func unacknowledged(conn net.Conn) (bytes int, known bool) {
	onSocket(conn, func(fd uintptr) { bytes, known = sendQueue(fd) })
	return bytes, known
}

// acknowledged is the number of bytes that the peer has acknowledged so far. open is false if
// it cannot acknowledge more, or the kernel does not tell.
func acknowledged(conn net.Conn) (bytes uint64, open bool) {
	onSocket(conn, func(fd uintptr) { bytes, open = ackedBytes(fd) })
	return bytes, open
}

// patientConn is a connection below TLS. Each write has the whole time limit, and goes on
// while the client takes something: after a deadline that has passed, crypto/tls cannot
// write any more. It also writes when it reads, to answer a KeyUpdate.
type patientConn struct {
	net.Conn
	limit time.Duration
}

func (c patientConn) Write(p []byte) (int, error) { return writeAll(c.Conn, p, c.limit) }

// NetConn is the connection that c wraps.
func (c patientConn) NetConn() net.Conn { return c.Conn }
