package node

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"slices"
	"sync"
	"time"
)

// sessions is who is connected. Guarded by Node.mu, but for running.
type sessions struct {
	open    map[net.Conn]struct{}
	from    map[string]int // how many of open, by remote address without port; loopback is not counted
	refused bool           // some were, since it was last worth saying
	accepts uint64         // how many were accepted, ever
	refuses uint64         // and how many refused
	running sync.WaitGroup
}

// serve accepts clients at ln until ctx ends, and gives each a session. It
// returns an error only if it must stop accepting before that.
func (n *Node) serve(ctx context.Context, ln net.Listener) error {
	defer context.AfterFunc(ctx, func() { ln.Close() })()
	defer ln.Close()
	// The kernel completes connections meanwhile. A second process of our name
	// ends before it has answered anybody.
	wait(ctx, n.reached.opened, claiming)
	n.log.Info("listening", "clients", ln.Addr().String(), "neighbours", n.cfg.Neighbours)

	var pause time.Duration
	for {
		conn, err := ln.Accept()
		switch {
		case ctx.Err() != nil:
			if conn != nil {
				conn.Close()
			}
			return nil
		case errors.Is(err, net.ErrClosed):
			return fmt.Errorf("accept: %w", err)
		case err != nil: // no file descriptors left, or a client that was gone again: try on, slower and slower
			pause = min(max(2*pause, 5*time.Millisecond), time.Second)
			n.log.Warn("accept", "err", err, "pause", pause)
			wait(ctx, nil, pause)
			continue
		}
		pause = 0
		if !n.admit(conn) {
			conn.Close()
			continue
		}
		s := newSession(n, conn)
		s.log("client open", nil)
		n.attend(ctx, s)
	}
}

// attend runs a session, and again whenever it has rested.
func (n *Node) attend(ctx context.Context, s *session) {
	n.sessions.running.Go(func() {
		if s.run(ctx) {
			n.attend(ctx, s)
			return
		}
		n.dismiss(s.conn)
	})
}

// admit counts conn in, if the limits allow.
func (n *Node) admit(conn net.Conn) bool {
	host, counted := countedHost(conn)
	n.mu.Lock()
	s := &n.sessions
	full := len(s.open) >= n.cfg.Limits.Conns || counted && s.from[host] >= max(1, n.cfg.Limits.Conns/2)
	worthSaying := full && !s.refused
	s.refused = full
	if full {
		s.refuses++
	} else {
		s.accepts++
		s.open[conn] = struct{}{}
		if counted {
			s.from[host]++
		}
	}
	n.mu.Unlock()
	if worthSaying {
		n.log.Warn("refusing clients: too many are connected", "remote", conn.RemoteAddr().String(), "limit", n.cfg.Limits.Conns)
	}
	return !full
}

// dismiss counts conn out.
func (n *Node) dismiss(conn net.Conn) {
	host, counted := countedHost(conn)
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.sessions.open, conn)
	if counted {
		if n.sessions.from[host]--; n.sessions.from[host] == 0 {
			delete(n.sessions.from, host)
		}
	}
}

// countedHost is the remote address without its port, and whether the limit on
// one address binds it.
func countedHost(conn net.Conn) (host string, counted bool) {
	tcp, ok := conn.RemoteAddr().(*net.TCPAddr)
	if !ok {
		return "", false
	}
	return tcp.IP.String(), !tcp.IP.IsLoopback()
}

// endSessions lets every session finish the commands that it has read, and
// returns when all have ended; those still busy when ctx ends are cut off.
func (n *Node) endSessions(ctx context.Context) {
	until, _ := ctx.Deadline()
	n.eachConn(func(c net.Conn) {
		c.SetReadDeadline(time.Now())
		c.SetWriteDeadline(until)
	})
	last := time.AfterFunc(lastAsking, n.endQuestions)
	defer last.Stop()
	cut := context.AfterFunc(ctx, func() {
		n.endQuestions()
		n.abandon(&n.journal)
		n.eachConn(func(c net.Conn) { c.Close() })
	})
	n.sessions.running.Wait()
	cut()
}

func (n *Node) eachConn(do func(net.Conn)) {
	n.mu.Lock()
	open := slices.Collect(maps.Keys(n.sessions.open))
	n.mu.Unlock()
	for _, c := range open {
		do(c)
	}
}

// part closes conn so that the client gets all that was written to it, also if
// it has sent more than we read: a close then would be a reset, which may
// overtake the replies.
func part(conn net.Conn) {
	const patience = 250 * time.Millisecond
	if half, ok := conn.(interface{ CloseWrite() error }); ok && half.CloseWrite() == nil {
		conn.SetReadDeadline(time.Now().Add(patience))
		io.Copy(io.Discard, conn)
	}
	conn.Close()
}
