package node

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"herd/bus/bustest"
	"herd/bus/topology"
	"herd/places"
)

// What tests of this package build on: whole herds on a bus in memory, reached
// over connections in memory, so that they run in virtual time too.

var discard = slog.New(slog.DiscardHandler)

// generous are limits that no test meets by accident.
var generous = Limits{Line: 8192, Conns: 100, Clients: 1000, Idle: time.Hour, Write: time.Minute}

// noPlaces is a places source without places.
type noPlaces struct{}

func (noPlaces) Nearby(context.Context, places.Query) ([]byte, error) {
	return places.Response{Status: places.StatusZeroResults}.Append(nil), nil
}

const noPlacesJSON = "{\n   \"html_attributions\" : [],\n   \"results\" : [],\n   \"status\" : \"ZERO_RESULTS\"\n}\n\n"

// testHerd is a herd on a network that can be cut.
type testHerd struct {
	t       *testing.T
	network *bustest.Network
	graph   *topology.Graph
	servers map[string]*testServer
	wrap    func(net.Listener) net.Listener // of clients; nil for as it is
}

type testServer struct {
	node *Node
	ln   *pipeListener
	stop func() error // ends it, once, and returns what Run did
}

// newTestHerd makes a herd of which no server runs yet.
func newTestHerd(t *testing.T, spec string) *testHerd {
	graph, err := topology.Load(spec)
	if err != nil {
		t.Fatal(err)
	}
	return &testHerd{t: t, network: &bustest.Network{}, graph: graph, servers: map[string]*testServer{}}
}

// startAll starts all servers and returns when they are ready.
func (h *testHerd) startAll() *testHerd {
	for i, name := range h.graph.Servers() {
		h.start(name, uint64(i+1), nil)
	}
	for _, s := range h.servers {
		s.node.AwaitReady(h.t.Context())
	}
	return h
}

// start runs a server until the test ends; with, if not nil, changes its Config.
func (h *testHerd) start(name string, epoch uint64, with func(*Config)) *testServer {
	h.t.Helper()
	neighbours := h.graph.Neighbours(name)
	cfg := Config{
		Name: name, Neighbours: neighbours, Adjacent: h.graph.Adjacent, Topology: h.graph.Hash(), Epoch: epoch, Limits: generous, Repair: 30 * time.Second,
		Bus: h.network.Bus(name, neighbours...), Places: noPlaces{}, Log: discard,
	}
	if with != nil {
		with(&cfg)
	}
	s := &testServer{node: New(cfg), ln: newPipeListener()}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	var ln net.Listener = s.ln
	if h.wrap != nil {
		ln = h.wrap(ln)
	}
	go func() { done <- s.node.Run(ctx, ln) }()
	s.stop = sync.OnceValue(func() error {
		cancel()
		return <-done
	})
	h.t.Cleanup(func() { s.stop() })
	h.servers[name] = s
	return s
}

// startOver starts a server, in its first life, over what a test puts in place of its bus.
func (h *testHerd) startOver(name string, over func(Bus) Bus) {
	h.start(name, 1, func(cfg *Config) { cfg.Bus = over(cfg.Bus) })
}

// client is a client's end of a connection.
type client struct {
	t    *testing.T
	conn net.Conn
	r    *bufio.Reader
}

func (h *testHerd) dial(name string) *client { return h.dialFrom(name, nil) }

// dialFrom connects as if from an address; nil is none of TCP's.
func (h *testHerd) dialFrom(name string, from net.IP) *client {
	conn := h.servers[name].ln.dial(from)
	h.t.Cleanup(func() { conn.Close() })
	return &client{h.t, conn, bufio.NewReader(conn)}
}

// refused checks that a connection was closed at once.
func (h *testHerd) refused(c *client) {
	h.t.Helper()
	began := time.Now()
	if _, err := c.r.ReadByte(); err == nil || time.Since(began) > time.Second {
		h.t.Errorf("a client too many read %v after %v, want the end at once", err, time.Since(began))
	}
}

// send writes without waiting until it has been read.
func (c *client) send(text string) {
	go io.WriteString(c.conn, text)
}

func (c *client) line() string {
	c.t.Helper()
	line, err := c.r.ReadString('\n')
	if err != nil {
		c.t.Fatalf("reading a reply: %v, after %q", err, line)
	}
	return line
}

// ask sends a command and returns its one-line reply.
func (c *client) ask(command string) string {
	c.t.Helper()
	c.send(command + "\n")
	return c.line()
}

// where is the record that a server has of a client, or "?".
func (h *testHerd) where(server, clientID string) string {
	h.t.Helper()
	c := h.dial(server)
	defer c.conn.Close()
	reply := c.ask(fmt.Sprintf("WHATSAT %s 0 0", clientID))
	if strings.HasPrefix(reply, "? ") {
		return "?"
	}
	return reply
}

// agree checks that all servers have the record want of a client.
func (h *testHerd) agree(clientID, want string) {
	h.t.Helper()
	for _, name := range h.graph.Servers() {
		if got := h.where(name, clientID); got != want {
			h.t.Errorf("%s has %q of %s, want %q", name, got, clientID, want)
		}
	}
}

// pipeListener is a net.Listener whose connections are net.Pipes.
type pipeListener struct {
	conns  chan net.Conn
	closed chan struct{}
	close  func()
}

func newPipeListener() *pipeListener {
	closed := make(chan struct{})
	return &pipeListener{make(chan net.Conn), closed, sync.OnceFunc(func() { close(closed) })}
}

func (l *pipeListener) dial(from net.IP) net.Conn {
	ours, theirs := net.Pipe()
	if from != nil {
		theirs = addressed{theirs, &net.TCPAddr{IP: from, Port: 1}}
	}
	select {
	case l.conns <- theirs:
	case <-l.closed:
		ours.Close()
	}
	return ours
}

// addressed is a connection with a remote address.
type addressed struct {
	net.Conn
	remote net.Addr
}

func (a addressed) RemoteAddr() net.Addr { return a.remote }

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *pipeListener) Close() error   { l.close(); return nil }
func (l *pipeListener) Addr() net.Addr { return &net.UnixAddr{Name: "pipe"} }
