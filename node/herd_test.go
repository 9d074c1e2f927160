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
	"testing/synctest"
	"time"

	"herd/bus/bustest"
	"herd/bus/topology"
	"herd/places"
)

// Helpers for tests with whole herds. Bus and connections are in memory, so the tests run
// in virtual time (testing/synctest).

var discard = slog.New(slog.DiscardHandler)

// generous limits are not reached by tests that do not set their own.
var generous = Limits{Line: 8192, Conns: 100, Clients: 1000, Idle: time.Hour, Write: time.Minute, Handshake: 10 * time.Second}

// noPlaces is a places source without places.
type noPlaces struct{}

func (noPlaces) Nearby(context.Context, places.Query) ([]byte, error) {
	return places.Response{Status: places.StatusZeroResults}.Append(nil), nil
}

const noPlacesJSON = "{\n   \"html_attributions\" : [],\n   \"results\" : [],\n   \"status\" : \"ZERO_RESULTS\"\n}\n\n"

// testHerd is a herd on a network whose edges can be cut.
type testHerd struct {
	t       *testing.T
	network *bustest.Network
	graph   *topology.Graph
	servers map[string]*testServer
}

type testServer struct {
	node *Node
	ln   *pipeListener
	stop func() error // stops it, once, and returns the result of Run
}

// newTestHerd makes a herd. Its servers are not started.
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

// start runs a server until the test ends. with changes its Config, unless it is nil.
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
	go func() { done <- s.node.Run(ctx, s.ln) }()
	s.stop = sync.OnceValue(func() error {
		cancel()
		return <-done
	})
	h.t.Cleanup(func() { s.stop() })
	h.servers[name] = s
	return s
}

// startWithBus starts a server on the bus that wrap returns for its usual one.
func (h *testHerd) startWithBus(name string, wrap func(Bus) Bus) {
	h.start(name, 1, func(cfg *Config) { cfg.Bus = wrap(cfg.Bus) })
}

// newSolo starts a server without neighbours. with changes its Config, unless it is nil.
func newSolo(t *testing.T, with func(*Config)) *testHerd {
	h := newTestHerd(t, "Solo")
	h.start("Solo", 1, with)
	return h
}

// startSoloTCP starts a server without neighbours that listens on the kernel's TCP, in
// real time. stop stops it and returns the result of Run.
func startSoloTCP(t *testing.T, limits Limits) (n *Node, address string, stop func() error) {
	t.Helper()
	return startSoloTCPWith(t, func(cfg *Config) { cfg.Limits = limits })
}

// startSoloTCPWith is startSoloTCP with a changed Config.
func startSoloTCPWith(t *testing.T, with func(*Config)) (n *Node, address string, stop func() error) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	h := newTestHerd(t, "Solo")
	cfg := Config{
		Name: "Solo", Epoch: 1, Limits: generous, Repair: 30 * time.Second,
		Bus: h.network.Bus("Solo"), Places: noPlaces{}, Log: discard,
	}
	with(&cfg)
	n = New(cfg)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- n.Run(ctx, ln) }()
	stop = sync.OnceValue(func() error {
		cancel()
		return <-done
	})
	t.Cleanup(func() { stop() })
	n.AwaitReady(t.Context())
	return n, ln.Addr().String(), stop
}

// settle lets everything that is in transit arrive. It needs virtual time.
func settle() {
	time.Sleep(time.Millisecond)
	synctest.Wait()
}

// eventually waits, in real time, until a condition holds.
func eventually(t *testing.T, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !holds(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("timeout")
		}
	}
}

// client is a client's end of a connection.
type client struct {
	t    *testing.T
	conn net.Conn
	r    *bufio.Reader
}

func (h *testHerd) dial(name string) *client { return h.dialFrom(name, nil) }

// dialFrom connects as if from an IP address; nil for a connection that is not TCP.
func (h *testHerd) dialFrom(name string, from net.IP) *client {
	conn := h.servers[name].ln.dial(from)
	h.t.Cleanup(func() { conn.Close() })
	return &client{h.t, conn, bufio.NewReader(conn)}
}

// wantClosed checks that the server closed a connection at once.
func (h *testHerd) wantClosed(c *client) {
	h.t.Helper()
	began := time.Now()
	if _, err := c.r.ReadByte(); err == nil || time.Since(began) > time.Second {
		h.t.Errorf("reading from a refused connection: %v after %v, want the end at once", err, time.Since(began))
	}
}

// wantRefusals checks how often a limit of clients has refused something.
func (h *testHerd) wantRefusals(server, reason string, want uint64) {
	h.t.Helper()
	if got := h.servers[server].node.Stats().Refusals; got[reason] != want {
		h.t.Errorf("refusals %v, want %d of %s", got, want, reason)
	}
}

// send writes text in the background.
func (c *client) send(text string) {
	go io.WriteString(c.conn, text)
}

// line reads one line of a reply.
func (c *client) line() string {
	c.t.Helper()
	line, err := c.r.ReadString('\n')
	if err != nil {
		c.t.Fatalf("read a reply: %v, after %q", err, line)
	}
	return line
}

// ask sends a command and returns its one-line reply.
func (c *client) ask(command string) string {
	c.t.Helper()
	c.send(command + "\n")
	return c.line()
}

// record is a server's record of a client, with its LF; "?" if it has none.
func (h *testHerd) record(server, clientID string) string {
	h.t.Helper()
	c := h.dial(server)
	defer c.conn.Close()
	reply := c.ask(fmt.Sprintf("WHATSAT %s 0 0", clientID))
	if strings.HasPrefix(reply, "? ") {
		return "?"
	}
	return reply
}

// wantRecord checks that all servers have the same record of a client.
func (h *testHerd) wantRecord(clientID, want string) {
	h.t.Helper()
	for _, name := range h.graph.Servers() {
		if got := h.record(name, clientID); got != want {
			h.t.Errorf("%s has the record %q of %s, want %q", name, got, clientID, want)
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
