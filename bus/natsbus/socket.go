package natsbus

import (
	"errors"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"

	"herd/bus"
)

const (
	// patience is how long a write may take before the broker counts as stalled, and
	// stalledWrite how long it may be that before it is taken for dead.
	patience     = 100 * time.Millisecond
	stalledWrite = 5 * time.Second
)

var errStalled = errors.New("the broker takes nothing")

// socket is a connection to the broker below nats.go, and below TLS. Corked, it
// holds what is written until it is uncorked, so that messages to several
// neighbours leave in one write, and whoever sent them knows that they have: nats.go
// itself writes message by message, or from a goroutine of its own that can only be
// waited for by asking the broker. Nor does it let anybody wait for long for a broker
// that takes nothing.
type socket struct {
	net.Conn
	beforeRead func() // is called before each read; nil for nothing
	full       bool   // the last read brought as much as there was room for

	// plain is whether what is written is NATS's protocol as it is, without TLS or
	// WebSocket around it.
	plain atomic.Bool

	mu      sync.Mutex
	corks   int
	held    []byte
	stalled bool  // unstick writes what is held
	err     error // of writing: what was held is lost, and nothing more is taken
}

// Dial is nats.CustomDialer. It is called with nats.go's lock held, as the first reads
// of a connection are: nothing of the last one may be left to receive then, or a
// receiver that sends would wait for itself. Its loss is found like any other.
func (r *run) Dial(network, address string) (net.Conn, error) {
	r.intake.drop()
	conn, err := net.DialTimeout(network, address, nats.DefaultTimeout)
	if err != nil {
		return nil, err
	}
	s := &socket{Conn: conn}
	s.beforeRead = func() { r.beforeRead(s) }
	r.dialled.Store(s)
	return s, nil
}

// Read reads, and takes note of the end of the connection: nobody is to wait for
// nats.go then, which tries to make another.
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

// nap lets a while pass in which what arrives is left to gather.
func (s *socket) nap() {
	s.quiet(true)
	time.Sleep(nap)
	s.quiet(false)
}

// Write writes b, or holds it.
func (s *socket) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.err != nil:
		return 0, s.err
	case s.corks > 0 || s.stalled:
		s.held = append(s.held, b...)
		return len(b), nil
	}
	s.held = append(s.held, b...)
	if err := s.flush(); err != nil && !errors.Is(err, errStalled) { // what is stalled is held
		return 0, err
	}
	return len(b), nil
}

// say holds a message until uncork: there must be a cork. It never gets into the middle
// of what nats.go says, which writes each of its messages in one Write.
func (s *socket) say(subject string, m bus.Message) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err == nil {
		s.held = appendMessage(s.held, subject, m)
	}
	return s.err
}

// SetWriteDeadline does nothing: how long a write may take is decided here.
func (s *socket) SetWriteDeadline(time.Time) error { return nil }

// cork holds what is written until uncork is called as often, which must be if cork
// returns nil. It returns an error, and holds nothing, while the broker is stalled.
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

// uncork writes what is held, whoever else holds it. It returns an error if that
// cannot be, or takes too long; then it may yet leave, all of it or a part.
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

// flush writes what is held, or leaves it to unstick if that takes too long. The
// lock is held.
func (s *socket) flush() error {
	const most = 1 << 20 // to keep for the next time
	if len(s.held) == 0 {
		return nil
	}
	s.Conn.SetWriteDeadline(time.Now().Add(patience)) // an error here is one of Write too
	n, err := s.Conn.Write(s.held)
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		s.held = append([]byte(nil), s.held[n:]...)
		s.stalled = true
		go s.unstick()
		return errStalled
	case err != nil:
		s.fail(err)
		return err
	}
	if s.held = s.held[:0]; cap(s.held) > most {
		s.held = nil
	}
	return nil
}

// unstick writes what is held until the broker has taken all of it, or too long
// nothing.
func (s *socket) unstick() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.held) > 0 {
		held := s.held
		s.held = nil
		s.mu.Unlock()
		s.Conn.SetWriteDeadline(time.Now().Add(stalledWrite)) // an error here is one of Write too
		_, err := s.Conn.Write(held)
		s.mu.Lock()
		if err != nil {
			s.fail(err)
			break
		}
	}
	s.stalled = false
}

// fail ends the connection: part of a message may have left. The lock is held.
func (s *socket) fail(err error) {
	s.err, s.held = err, nil
	s.Conn.Close()
}
