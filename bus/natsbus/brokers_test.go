package natsbus

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"herd/bus"
)

// patience is how long a test waits for what must happen.
const patience = 10 * time.Second

// fakeBroker says as much of NATS's protocol as a client needs to connect.
type fakeBroker struct {
	address string
	info    string                          // more fields of INFO, each after a comma
	answer  func(line string) (more string) // to each line of a client's, after the protocol's own; nil for nothing

	mu    sync.Mutex
	conns []net.Conn
	sids  map[string]string // of the last subscription to a subject
}

// startFakeBroker starts a broker. set may set its fields, and may be nil.
func startFakeBroker(t *testing.T, set func(b *fakeBroker)) *fakeBroker {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	b := &fakeBroker{address: ln.Addr().String(), sids: map[string]string{}}
	if set != nil {
		set(b)
	}
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			b.mu.Lock()
			b.conns = append(b.conns, conn)
			b.mu.Unlock()
			serving.Go(func() { b.serve(conn) })
		}
	})
	t.Cleanup(func() {
		ln.Close()
		b.hangUp()
		serving.Wait()
	})
	return b
}

func (b *fakeBroker) serve(conn net.Conn) {
	defer conn.Close()
	fmt.Fprintf(conn, "INFO {\"proto\":1,\"max_payload\":1048576,\"headers\":true%s}\r\n", b.info)
	for lines := bufio.NewReader(conn); ; {
		line, err := lines.ReadString('\n') // one of these may be a payload
		if err != nil {
			return
		}
		line = strings.TrimSuffix(line, "\r\n")
		fields := strings.Fields(line)
		switch {
		case line == "PING":
			fmt.Fprint(conn, "PONG\r\n")
		case len(fields) == 3 && fields[0] == "SUB":
			b.mu.Lock()
			b.sids[fields[1]] = fields[2]
			b.mu.Unlock()
		}
		if b.answer != nil {
			fmt.Fprint(conn, b.answer(line))
		}
	}
}

func (b *fakeBroker) url() string { return "nats://" + b.address }

func (b *fakeBroker) connections() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.conns)
}

// say writes text to the last connection.
func (b *fakeBroker) say(text string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	fmt.Fprint(b.conns[len(b.conns)-1], text)
}

// message is a message on a subject that the client has subscribed to.
func (b *fakeBroker) message(subject, data string) string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return fmt.Sprintf("MSG %s %s %d\r\n%s\r\n", subject, b.sids[subject], len(data), data)
}

// hangUp closes all connections.
func (b *fakeBroker) hangUp() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, conn := range b.conns {
		conn.Close()
	}
}

// start runs b with handler h until the test ends.
func start(t *testing.T, b *Bus, h bus.Handler) {
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- b.Run(ctx, h) }()
	t.Cleanup(func() {
		stop()
		select {
		case err := <-done:
			if err != nil {
				t.Errorf("Run = %v", err)
			}
		case <-time.After(patience):
			t.Error("Run does not return")
		}
	})
}

// expect receives want from a channel.
func expect[T comparable](t *testing.T, what string, from <-chan T, want T) {
	t.Helper()
	select {
	case got := <-from:
		if got != want {
			t.Fatalf("%s: %v, want %v", what, got, want)
		}
	case <-time.After(patience):
		t.Fatalf("%s: nothing came, want %v", what, want)
	}
}

// eventually waits until a condition holds.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for until := time.Now().Add(patience); !holds(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(until) {
			t.Fatalf("%s: not within %v", what, patience)
		}
	}
}

// stoppable copies bytes from a client to a broker while flow holds a token.
type stoppable struct {
	flow chan struct{}

	mu   sync.Mutex
	seen []byte
}

func (p *stoppable) copy(from, to net.Conn) {
	defer to.Close()
	for b := make([]byte, 64<<10); ; {
		n, err := from.Read(b)
		if err != nil {
			return
		}
		<-p.flow
		p.mu.Lock()
		p.seen = append(p.seen, b[:n]...)
		p.mu.Unlock()
		if _, err := to.Write(b[:n]); err != nil {
			return
		}
		p.flow <- struct{}{}
	}
}

func (p *stoppable) copyAll(from, to net.Conn) {
	defer to.Close()
	io.Copy(to, from)
}

// saw reports whether a line was copied.
func (p *stoppable) saw(line string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return bytes.Contains(p.seen, []byte(line+"\r\n"))
}

// startServer starts a NATS server on a free port.
func startServer(t *testing.T, o *server.Options) *server.Server {
	t.Helper()
	return startServerAt(t, "127.0.0.1:-1", o)
}

// startServerAt starts a NATS server; port -1 is a free one.
func startServerAt(t *testing.T, address string, o *server.Options) *server.Server {
	t.Helper()
	var port string
	o.NoSigs = true
	o.Host, port, _ = strings.Cut(address, ":")
	if _, err := fmt.Sscan(port, &o.Port); err != nil {
		t.Fatal(err)
	}
	s, err := server.NewServer(o)
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(func() {
		s.Shutdown()
		s.WaitForShutdown()
	})
	if !s.ReadyForConnections(patience) {
		t.Fatal("the NATS server is not ready")
	}
	return s
}

func testLog(t *testing.T) *slog.Logger {
	return slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug}))
}
