package natsbus

import (
	"errors"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"herd/bus"
)

const (
	// writeTimeout is how long a write may take before the broker counts as stalled.
	writeTimeout = 100 * time.Millisecond
	// stallTimeout is how long a stalled broker may read nothing before the connection is
	// closed.
	stallTimeout = 5 * time.Second
	// maxKeptBuffer is the largest write buffer that is kept for the next write, in bytes.
	maxKeptBuffer = 1 << 20
)

var errStalled = errors.New("the broker reads nothing")

// socket is a connection to the broker, below nats.go and below TLS. While it is
// corked it buffers what is written, and the last uncork writes all of it. So messages to
// several neighbours leave in one write, and the sender knows that they have left.
// nats.go itself writes each message separately, or in a goroutine of its own; only a
// round trip to the broker shows that such a write is done.
//
// A write blocks for writeTimeout at most. The rest is then written in the background, in
// order.
type socket struct {
	net.Conn
	beforeRead func()        // called before each read; may be nil
	full       bool          // the last read filled its buffer
	dead       chan struct{} // closed once the connection has failed or is closed

	// plain is whether the bytes written are NATS's protocol itself, without TLS or
	// WebSocket around it.
	plain atomic.Bool

	mu sync.Mutex
	// shaking is whether the handshake is under way. Then a write that fails ends nothing: a
	// broker that accepts no more connections says so and hangs up, at once. nats.go would
	// return the error of its write. So the next read tells it what the broker said.
	shaking bool
	corks   int
	buffer  []byte
	stalled bool  // writeStalled is writing the buffer
	err     error // the first error: the buffer is lost, and nothing more is written
}

func newSocket(conn net.Conn) *socket { return &socket{Conn: conn, dead: make(chan struct{})} }

// handshakeDone notes that the handshake is over.
func (s *socket) handshakeDone() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.shaking = false
}

// Read reads. An error of it ends the connection for writers, too, at once and not when
// nats.go learns of it.
func (s *socket) Read(b []byte) (int, error) {
	if s.beforeRead != nil {
		s.beforeRead()
	}
	n, err := s.Conn.Read(b)
	s.full = n == len(b)
	if err != nil {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.fail(err)
	}
	return n, err
}

// coalesce waits for coalesceDelay, in which what arrives gathers in the kernel.
func (s *socket) coalesce() {
	s.setReceiveLowWater(coalesceBytes)
	time.Sleep(coalesceDelay)
	s.setReceiveLowWater(1)
}

// Write writes b, or buffers it while there is a cork or the broker is stalled.
func (s *socket) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return 0, s.err
	}
	s.buffer = append(s.buffer, b...)
	if s.corks > 0 || s.stalled {
		return len(b), nil
	}
	if err := s.flush(); err != nil && !errors.Is(err, errStalled) { // then the buffer is written later
		return 0, err
	}
	return len(b), nil
}

// writeMessage buffers a message. The caller must hold a cork. Since nats.go writes
// each of its own protocol messages in one Write, a message never gets into the middle
// of one of those: see TestOneWritePerMessage.
func (s *socket) writeMessage(subject string, m bus.Message) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err == nil {
		s.buffer = appendMessage(s.buffer, subject, m)
	}
	return s.err
}

// SetWriteDeadline does nothing: the socket limits how long a write may take.
func (s *socket) SetWriteDeadline(time.Time) error { return nil }

// Close closes the connection. Later writes fail at once.
func (s *socket) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.fail(net.ErrClosed)
}

// cork makes the socket buffer what is written until uncork is called as often. It
// returns an error, and does nothing, once the connection has failed and while the
// broker is stalled.
func (s *socket) cork() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.err != nil:
		return s.err
	case s.stalled:
		return errStalled
	}
	s.corks++
	return nil
}

// uncork writes the buffer, also while others hold a cork. After an error the buffer
// may have been written, or may be written yet, in part or in whole.
func (s *socket) uncork() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.corks--
	switch {
	case s.err != nil:
		return s.err
	case s.stalled:
		return errStalled
	}
	return s.flush()
}

// flush writes the buffer, and leaves what takes longer than writeTimeout to
// writeStalled. s.mu must be held.
func (s *socket) flush() error {
	if len(s.buffer) == 0 {
		return nil
	}
	s.Conn.SetWriteDeadline(time.Now().Add(writeTimeout)) // if this fails, so does Write
	n, err := s.Conn.Write(s.buffer)
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		s.buffer = append([]byte(nil), s.buffer[n:]...)
		s.stalled = true
		go s.writeStalled()
		return errStalled
	case err != nil && !s.shaking:
		s.fail(err)
		return err
	}
	if s.buffer = s.buffer[:0]; cap(s.buffer) > maxKeptBuffer {
		s.buffer = nil
	}
	return nil
}

// writeStalled writes the buffer until the broker has taken all of it. It closes the
// connection if one write takes longer than stallTimeout.
func (s *socket) writeStalled() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.buffer) > 0 {
		pending := s.buffer
		s.buffer = nil
		s.mu.Unlock()
		s.Conn.SetWriteDeadline(time.Now().Add(stallTimeout)) // if this fails, so does Write
		_, err := s.Conn.Write(pending)
		s.mu.Lock()
		if err != nil {
			s.fail(err)
			break
		}
	}
	s.stalled = false
}

// fail closes the connection, since part of a message may have been written. s.mu must
// be held.
func (s *socket) fail(err error) error {
	if s.err == nil {
		s.err = err
		close(s.dead)
	}
	s.buffer = nil
	return s.Conn.Close()
}
