package natsbus

import (
	"net"
	"slices"
	"sync"
)

// watchedDialer dials, and calls functions, where they are set, on each use of its
// connections.
type watchedDialer struct {
	onDial  func(count int)
	onRead  func()         // before a read
	wasRead func(b []byte) // after it
	onWrite func(b []byte)

	mu        sync.Mutex
	addresses []string // that were dialled
}

type watchedConn struct {
	net.Conn
	*watchedDialer
}

func (d *watchedDialer) Dial(network, address string) (net.Conn, error) {
	d.mu.Lock()
	d.addresses = append(d.addresses, address)
	count := len(d.addresses)
	d.mu.Unlock()
	if d.onDial != nil {
		d.onDial(count)
	}
	conn, err := net.Dial(network, address)
	return watchedConn{conn, d}, err
}

func (d *watchedDialer) dialled() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.addresses)
}

func (c watchedConn) Read(b []byte) (int, error) {
	if c.onRead != nil {
		c.onRead()
	}
	n, err := c.Conn.Read(b)
	if c.wasRead != nil {
		c.wasRead(b[:n])
	}
	return n, err
}

func (c watchedConn) Write(b []byte) (int, error) {
	if c.onWrite != nil {
		c.onWrite(b)
	}
	return c.Conn.Write(b)
}
