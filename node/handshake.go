package node

import (
	"container/list"
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"slices"
	"sync"
	"syscall"
	"time"
)

// handshakeShare is the divisor of the connection limit that gives the limit of handshakes in
// progress.
const handshakeShare = 4

// handshakes is the handshakes in progress: TLS handshakes, and PROXY headers that are not
// read. Beyond the limit the oldest one makes room for a new one, because an honest client
// is done within milliseconds: silent connections, however many, do not keep it out. It is
// safe for concurrent use.
type handshakes struct {
	most int

	mu         sync.Mutex // guards inProgress; no other lock is taken while it is held
	inProgress list.List  // of net.Conn, sockets, the oldest first; nil for one that was dropped
}

// begin adds a handshake. If that is one too many, it drops the oldest, which the caller
// must disconnect.
func (h *handshakes) begin(socket net.Conn) (entry *list.Element, oldest net.Conn) {
	h.mu.Lock()
	defer h.mu.Unlock()
	entry = h.inProgress.PushBack(socket)
	if h.inProgress.Len() > h.most {
		first := h.inProgress.Front()
		oldest = h.inProgress.Remove(first).(net.Conn)
		first.Value = nil
	}
	return entry, oldest
}

// end removes a handshake. It reports whether it was dropped before.
func (h *handshakes) end(entry *list.Element) (dropped bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.inProgress.Remove(entry) // does nothing if it was dropped
	return entry.Value == nil
}

// handshaker is a connection of TLS.
type handshaker interface {
	HandshakeContext(context.Context) error
}

// handshake reads the PROXY header and completes the TLS handshake, in the time limit for
// both. It reports whether the session may go on; otherwise it closes the connection.
func (s *session) handshake(ctx context.Context) (ok bool) {
	n := s.node
	entry, oldest := n.handshakes.begin(socketOf(s.conn))
	if oldest != nil {
		n.refuse(tooManyHandshakes, 1, oldest.RemoteAddr().String(), nil)
		oldest.Close()
	}
	limited, cancel := context.WithTimeout(ctx, n.cfg.Limits.Handshake)
	defer cancel()
	why, err := s.completeHandshake(limited)
	dropped := n.handshakes.end(entry)
	if err == nil {
		s.handshaking = false
		return true
	}
	switch {
	case ctx.Err() != nil || dropped:
	case limited.Err() != nil || errors.Is(err, os.ErrDeadlineExceeded):
		n.refuse(slowHandshake, 1, s.remote, nil)
	case isGone(err): // a health check, perhaps
		n.log.Debug("connection lost during the handshake", "client", s.remote, "err", err)
	default:
		n.refuse(why, 1, s.remote, err)
	}
	s.conn.Close()
	return false
}

// isGone reports whether an error of a handshake is that the client has left.
func isGone(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}

// errOverLimit says that a limit per address refuses the client.
var errOverLimit = errors.New("the limit of its address is reached")

// completeHandshake does what handshake is for. ctx has the time limit. On an error, why
// is what to count, unless there is another reason.
func (s *session) completeHandshake(ctx context.Context) (why refusal, err error) {
	if s.proxied {
		source, err := s.readProxyHeader(ctx)
		if err != nil {
			return noProxyHeader, err
		}
		if why, ok := s.node.clients.admit(s.conn, source, time.Now()); !ok {
			return why, errOverLimit
		}
		s.opened()
	}
	if secure, ok := s.conn.(handshaker); ok {
		if err := secure.HandshakeContext(ctx); err != nil {
			return failedHandshake, err
		}
		s.bind()
	}
	return 0, nil
}

// readProxyHeader reads the header, below TLS. It returns the address that counts from
// then on.
func (s *session) readProxyHeader(ctx context.Context) (netip.Addr, error) {
	socket := socketOf(s.conn)
	stop := context.AfterFunc(ctx, func() { socket.SetReadDeadline(time.Now()) })
	source, err := readProxyHeader(socket)
	switch {
	case !stop():
		return netip.Addr{}, ctx.Err()
	case err != nil:
		return netip.Addr{}, err
	case !source.IsValid():
		return remoteAddress(socket), nil
	}
	s.remote = source.String()
	return source.Addr(), nil
}

// isProxy reports whether connections from an address begin with a PROXY header.
func (n *Node) isProxy(a netip.Addr) bool {
	return slices.ContainsFunc(n.cfg.Proxies, func(network netip.Prefix) bool { return network.Contains(a) })
}
