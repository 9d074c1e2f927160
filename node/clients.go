package node

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"maps"
	"math"
	"net"
	"net/netip"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"herd/bus/plural"
)

const (
	// nameClaimTimeout is how long clients wait at most, at the start, for the bus to
	// tell whether another process has our name.
	nameClaimTimeout = 300 * time.Millisecond
	// lingerTimeout is how long a connection that we close is read, so that the close is
	// no reset, which could destroy replies that the client has not read yet.
	lingerTimeout = 250 * time.Millisecond
)

// clients is the connections of clients.
type clients struct {
	limits  Limits
	running sync.WaitGroup // sessions

	closed chan struct{} // tells serve that one was closed; capacity 1

	mu        sync.Mutex              // guards what follows; no other lock is taken while it is held, except those of rates
	open      map[net.Conn]netip.Addr // its limitedAddress; the zero Addr also for one that is not admitted yet
	byAddress map[netip.Addr]int      // number of open ones, by limitedAddress
	rates     connRates
	accepted  uint64
}

func newClients(l Limits) clients {
	if l.Files == 0 {
		l.Files = math.MaxInt
	}
	return clients{
		limits: l, closed: make(chan struct{}, 1),
		open: map[net.Conn]netip.Addr{}, byAddress: map[netip.Addr]int{}, rates: connRates{perSecond: l.ConnRate},
	}
}

// most is how many connections may be open.
func (c *clients) most() int { return min(c.limits.Conns, c.limits.Files) }

// add counts conn as open, unless too many are.
func (c *clients) add(conn net.Conn) (ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.open) >= c.limits.Conns {
		return false
	}
	c.open[conn] = netip.Addr{}
	return true
}

// admit counts an open connection for the address of its client, unless a limit of that
// address refuses it: then the caller must close it, and remove it.
func (c *clients) admit(conn net.Conn, client netip.Addr, now time.Time) (why refusal, ok bool) {
	address := limitedAddress(client)
	c.mu.Lock()
	defer c.mu.Unlock()
	if address.IsValid() {
		if c.byAddress[address] >= max(1, c.most()/2) {
			return tooManyOfAddress, false
		}
		if !c.rates.allow(address, now) {
			return tooManyPerSecond, false
		}
		c.byAddress[address]++
		c.open[conn] = address
	}
	c.accepted++
	return 0, true
}

// hasFile reports whether there is a file descriptor for one more connection.
func (c *clients) hasFile() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.open) < c.limits.Files
}

// remove counts conn as closed.
func (c *clients) remove(conn net.Conn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	defer signal(c.closed)
	if address := c.open[conn]; address.IsValid() {
		if c.byAddress[address]--; c.byAddress[address] == 0 {
			delete(c.byAddress, address)
		}
	}
	delete(c.open, conn)
}

// each calls do for each open connection.
func (c *clients) each(do func(net.Conn)) {
	c.mu.Lock()
	open := slices.Collect(maps.Keys(c.open))
	c.mu.Unlock()
	for _, conn := range open {
		do(conn)
	}
}

// counts is the number of connections that are open, and that were accepted since the
// start.
func (c *clients) counts() (open int, accepted uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.open), c.accepted
}

// serve accepts clients at ln and gives each a session, until ctx ends. It returns an
// error only if it has to stop accepting earlier.
func (n *Node) serve(ctx context.Context, ln net.Listener) error {
	defer context.AfterFunc(ctx, func() { ln.Close() })()
	defer ln.Close()
	// The kernel completes connections meanwhile. A second process with our name exits
	// before it has answered any.
	if wait(ctx, n.connected.opened, nameClaimTimeout); ctx.Err() != nil {
		return nil
	}
	n.log.Info("listening", "clients", ln.Addr().String(), "neighbours", n.cfg.Neighbours)

	short := newShortage(n.log)
	defer short.end()
	var pause time.Duration
	for {
		for !n.clients.hasFile() && ctx.Err() == nil { // the kernel lets clients wait
			short.note(fmt.Errorf("too many open files: there is room for %s", plural.Count(n.clients.limits.Files, "client connection")))
			select {
			case <-n.clients.closed:
			case <-ctx.Done():
			}
		}
		conn, err := ln.Accept()
		switch {
		case ctx.Err() != nil:
			if conn != nil {
				conn.Close()
			}
			return nil
		case errors.Is(err, net.ErrClosed):
			return fmt.Errorf("accept: %w", err)
		case err != nil: // out of file descriptors, or the client has gone already: back off
			pause = min(max(2*pause, 5*time.Millisecond), time.Second)
			short.note(err)
			wait(ctx, nil, pause)
			continue
		}
		pause = 0
		n.accept(ctx, conn)
	}
}

// accept gives a new connection a session, or closes it because of a limit. The limits of
// its address wait for the PROXY header if it has one.
func (n *Node) accept(ctx context.Context, conn net.Conn) {
	address := remoteAddress(conn)
	proxied := n.isProxy(address)
	if n.cfg.TLS != nil {
		conn = tls.Server(patientConn{conn, n.cfg.Limits.Write}, n.cfg.TLS)
	}
	if !n.clients.add(conn) {
		n.refuse(tooManyConnections, 1, conn.RemoteAddr().String(), nil)
		conn.Close()
		return
	}
	if !proxied {
		if why, ok := n.clients.admit(conn, address, time.Now()); !ok {
			n.refuse(why, 1, conn.RemoteAddr().String(), nil)
			conn.Close()
			n.clients.remove(conn)
			return
		}
	}
	n.startSession(ctx, newSession(n, conn, proxied))
}

// startSession runs a session in a goroutine of its own until it ends or parks.
func (n *Node) startSession(ctx context.Context, s *session) {
	n.clients.running.Go(func() {
		parked := false
		defer func() { n.sessionEnded(ctx, s, parked, recover()) }()
		parked = s.run(ctx)
	})
}

// sessionEnded continues a session that has parked, in a new goroutine, whose stack is
// small; it closes the connection of any other. panicked is the session's panic, which
// ends no other session.
func (n *Node) sessionEnded(ctx context.Context, s *session, parked bool, panicked any) {
	if parked {
		n.startSession(ctx, s)
		return
	}
	s.endTurn() // after a panic
	if panicked != nil {
		n.notePanic(s, panicked, s.sample(), debug.Stack())
	}
	if panicked := s.drain(); panicked != nil {
		n.notePanic(s, panicked, s.sample(), debug.Stack())
	}
	s.close(ctx)
	if s.isOpen {
		s.log("client close", nil)
	}
	n.clients.remove(s.conn)
}

// notePanic counts and logs a panic in a session.
func (n *Node) notePanic(s *session, panicked any, input string, stack []byte) {
	if l, ok := panicked.(*lookupPanic); ok {
		panicked, input, stack = l.value, string(l.input), l.stack
	}
	n.panics.Add(1)
	n.locked(func() { n.merged = nil })
	n.wakeWriters() // for reports that were merged before
	n.log.Error("panic in a session: the connection is closed",
		"client", s.remote, "panic", panicked, "input", input, "stack", string(stack))
}

// socketOf is the connection that conn wraps in TLS, or conn itself.
func socketOf(conn net.Conn) net.Conn {
	for {
		wrapper, ok := conn.(interface{ NetConn() net.Conn })
		if !ok {
			return conn
		}
		conn = wrapper.NetConn()
	}
}
