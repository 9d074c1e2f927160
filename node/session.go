package node

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"syscall"
	"time"
)

// parkAfter is how long a client must be silent for its session to park.
const parkAfter = time.Second / 2

// session is one client's connection. It belongs to one goroutine at a time, so it has no
// lock. The goroutine of a replyQueue uses only those of its fields that never change. A
// session waits for input and enforces the idle timeout; an exchange handles what a read
// brings.
//
// Most clients are idle most of the time, so an idle session is small: 3.2 KB of heap and
// stack, instead of 8.0 KB without these two (DESIGN.md, "Techniques"):
//
//   - It has no buffers. Where the connection is a plain socket, they are taken from a
//     pool when there is something to read, and returned when there is nothing more. Only
//     an incomplete line is kept.
//   - It parks when the client has been silent for a while: it goes on in a new
//     goroutine, because a stack that has grown does not shrink enough.
type session struct {
	node   *Node
	conn   net.Conn
	remote string // for logs

	partial    []byte // an incomplete line that was read
	skipping   bool   // the line is too long and has been answered: skip the rest of it
	batchGroup uint64 // see batch.Batcher.Member

	certificate string // its name, if reports are bound to it

	heard       time.Time // when the client connected or sent its last complete line
	deadline    time.Time // of reading; zero if it must be set anew
	proxied     bool      // the connection begins with a PROXY header
	secure      bool      // it is a connection of TLS
	handshaking bool      // the PROXY header or the TLS handshake is not complete
	bound       bool      // the client may report as certificate only
	isOpen      bool      // the traffic log says so
	active      bool      // this goroutine has handled input: its stack may have grown

	unread  unread      // replies that the client has not taken
	reset   bool        // the connection must be reset: the client takes nothing
	work    int         // since a read had to wait for input: lines, and readWork for each read
	myTurn  bool        // see turns
	x       *exchange   // nil while the session waits
	later   *replyQueue // nil unless replies wait behind a lookup of places
	raw     syscall.RawConn
	readRaw func(fd uintptr) (done bool) // for raw.Read
	readErr error                        // of readRaw
}

// newSession makes the session of a connection. proxied says that it begins with a PROXY
// header.
func newSession(n *Node, conn net.Conn, proxied bool) *session {
	s := &session{node: n, conn: conn, remote: conn.RemoteAddr().String(), proxied: proxied, heard: time.Now()}
	if !proxied {
		s.opened()
	}
	limitBuffers(conn)
	s.unread.checked = s.heard
	s.raw = rawConn(conn)
	_, s.secure = conn.(handshaker)
	s.handshaking = s.secure || proxied
	s.readRaw = func(fd uintptr) (done bool) {
		s.acquire()
		var wouldBlock bool
		if wouldBlock, s.readErr = s.x.readNonblocking(fd); wouldBlock {
			s.release()
			s.work = 0
		}
		return !wouldBlock
	}
	s.setReadDeadline(s.heard) // Read returns the error
	return s
}

// acquire takes an exchange from the pool, unless the session has one.
func (s *session) acquire() {
	if s.x != nil {
		return
	}
	s.x = s.node.buffers.Get().(*exchange)
	s.x.begin(s, s.partial)
	s.partial = nil
}

// release returns the exchange to the pool and keeps the incomplete line.
func (s *session) release() {
	x := s.x
	if s.x = nil; x == nil {
		return
	}
	if rest := x.rest(); len(rest) > 0 {
		s.partial = bytes.Clone(rest)
	}
	x.reset()
	s.node.buffers.Put(x)
}

// run serves the client until it or the server ends the session, or until the session
// parks.
func (s *session) run(ctx context.Context) (parked bool) {
	if s.handshaking && !s.handshake(ctx) {
		return false
	}
	for ctx.Err() == nil && !s.failed() { // checked after the deadline was set: endSessions sets one, too, and so does a replyQueue
		err := s.read()
		if s.timedOut(err) && ctx.Err() == nil {
			parked = (s.active || s.unread.waits()) && s.raw != nil
			s.active, s.deadline = false, time.Time{}
			if s.unread.stuck(s.conn, time.Now(), s.node.cfg.Limits.Write) {
				s.noteStuck()
				s.node.log.Debug("connection lost", "client", s.remote, "err", errStuck)
				break
			}
		} else if over := s.handle(ctx, err); over {
			break
		}
		// Read returns the error. The deadline is set here, before a session parks: a new
		// goroutine's stack would grow for it.
		s.setReadDeadline(time.Now())
		if parked {
			return true
		}
	}
	s.release()
	return false
}

// handle handles what the last read brought. err is its error. It reports whether the
// session is over.
func (s *session) handle(ctx context.Context, err error) (over bool) {
	s.active = true
	eof := errors.Is(err, io.EOF)
	if errors.Is(err, os.ErrDeadlineExceeded) && ctx.Err() == nil {
		s.node.refuse(idleTimeout, 1, s.remote, nil)
	}
	if s.later != nil && err != nil && !eof && ctx.Err() == nil {
		s.later.abort()
	}
	lines := 0
	if s.x != nil {
		if s.work >= turn {
			s.takeTurn()
		}
		var replyErr error
		if lines, replyErr = s.x.handle(ctx, eof); replyErr != nil {
			// Reports behind the reply that failed were merged without a flush.
			s.node.wakeWriters()
			err = replyErr
		}
		s.x.makeRoom()
		s.endTurn()
		s.work += lines + readWork
	}
	now := time.Now()
	if lines > 0 {
		s.heard = now
	}
	if err == nil && s.takesNothing(now) { // also if it sends a line byte by byte
		s.noteStuck()
		err = errStuck
	}
	if err != nil && !eof && ctx.Err() == nil {
		s.node.log.Debug("connection lost", "client", s.remote, "err", err)
	}
	return err != nil
}

// failed reports whether replies that waited behind a lookup could not be written.
func (s *session) failed() bool { return s.later != nil && s.later.failed() }

// drain returns when no replies wait behind a lookup any more. It returns the panic of a
// lookup.
func (s *session) drain() (panicked any) {
	if s.later == nil {
		return nil
	}
	return s.later.drain()
}

// setReadDeadline sets the deadline for the idle timeout, or for looking at the connection
// if that is earlier. It does nothing while the present deadline is about right: setting it for
// each command would cost more than the command.
func (s *session) setReadDeadline(now time.Time) {
	deadline := s.heard.Add(s.node.cfg.Limits.Idle)
	if look := now.Add(parkAfter); s.active && s.looksAgain() && look.Before(deadline) {
		deadline = look
	}
	if look := now.Add(unreadStep(s.node.cfg.Limits.Write)); s.unread.waits() && look.Before(deadline) {
		deadline = look
	}
	if !s.deadline.IsZero() && deadline.Sub(s.deadline).Abs() < deadline.Sub(now)/4 {
		return
	}
	s.deadline = deadline
	s.conn.SetReadDeadline(deadline)
}

// looksAgain reports whether the session looks at the connection when the client has been
// silent for a while: to park, or to see whether the client has taken its replies.
func (s *session) looksAgain() bool { return s.raw != nil || s.secure }

// timedOut reports whether a read ended at a deadline, and the client has not been idle
// for too long. It is not idle while it waits for a lookup.
func (s *session) timedOut(err error) bool {
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		return false
	}
	now := time.Now()
	if s.later != nil {
		busy, over := s.later.busySince(now)
		if busy.After(s.heard) {
			s.heard = busy
		}
		if over {
			s.later = nil
		}
	}
	return now.Sub(s.heard) < s.node.cfg.Limits.Idle
}

// read reads once, behind the incomplete line.
func (s *session) read() error {
	if s.raw == nil { // the exchange is held while we wait
		s.acquire()
		began := time.Now()
		err := s.x.readFrom(s.conn)
		if time.Since(began) > waitTakes {
			s.work = 0
		}
		return err
	}
	s.readErr = nil
	if err := s.raw.Read(s.readRaw); err != nil {
		return err
	}
	return s.readErr
}

// rawConn is the socket of conn, for reading without a buffer at hand; nil if conn is not
// a plain socket.
func rawConn(conn net.Conn) syscall.RawConn {
	socket, ok := conn.(syscall.Conn)
	if !ok || !canReadNonblocking { // TLS, or a connection in memory
		return nil
	}
	raw, err := socket.SyscallConn()
	if err != nil {
		return nil
	}
	return raw
}

// sample is the beginning of the input that is being handled, for logs.
func (s *session) sample() string {
	if s.x == nil {
		return ""
	}
	return s.x.sample()
}

// opened notes in the traffic log that the connection is open. Its remote address is known.
func (s *session) opened() {
	s.log("client open", nil)
	s.isOpen = true
}

// log writes an event to the traffic log.
func (s *session) log(what string, line []byte) {
	if t := s.node.traffic; t != nil {
		t.write(what, s.remote, line)
	}
}
