package natsbus

import (
	"net"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
)

// socket is a connection to the broker below nats.go, and below TLS: corked, it
// holds what is written until it is uncorked, so that messages to several
// neighbours leave in one write, and Send knows that they have. nats.go itself
// writes message by message, or from a goroutine of its own that nobody can wait
// for without asking the broker. A nil socket does nothing.
type socket struct {
	net.Conn

	mu    sync.Mutex
	corks int
	held  []byte
	err   error // of writing: what was held is lost, and nothing more is taken
}

// Dial is nats.CustomDialer.
func (b *Bus) Dial(network, address string) (net.Conn, error) {
	conn, err := net.DialTimeout(network, address, nats.DefaultTimeout)
	if err != nil {
		return nil, err
	}
	s := &socket{Conn: conn}
	b.socket.Store(s)
	return s, nil
}

func (s *socket) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.err != nil:
		return 0, s.err
	case s.corks == 0:
		return s.Conn.Write(b)
	}
	s.held = append(s.held, b...)
	return len(b), nil
}

// cork holds what is written until as many calls of uncork.
func (s *socket) cork() {
	if s == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.corks++
}

// uncork writes what is held, whoever else holds it, and returns why not if it
// cannot; the connection is closed then, for part of a message may have left.
func (s *socket) uncork() error {
	const most = 1 << 20 // to keep
	if s == nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.corks--
	if len(s.held) == 0 || s.err != nil {
		return s.err
	}
	s.Conn.SetWriteDeadline(time.Now().Add(stalledWrite)) // an error here is one of Write too
	if _, s.err = s.Conn.Write(s.held); s.err != nil {
		s.Conn.Close()
	} else {
		s.Conn.SetWriteDeadline(time.Time{})
	}
	if s.held = s.held[:0]; cap(s.held) > most {
		s.held = nil
	}
	return s.err
}
