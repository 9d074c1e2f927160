package node

import (
	"context"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"herd/places"
)

// blockedPlaces is a places source that replies when the test closes replies.
type blockedPlaces struct {
	requests, replies chan struct{}
	cancelled         chan error // why
}

func newBlockedPlaces() blockedPlaces {
	return blockedPlaces{make(chan struct{}, 9), make(chan struct{}), make(chan error, 9)}
}

func (p blockedPlaces) Nearby(ctx context.Context, q places.Query) ([]byte, error) {
	p.requests <- struct{}{}
	select {
	case <-p.replies:
		return []byte("{}"), nil
	case <-ctx.Done():
		p.cancelled <- ctx.Err()
		return nil, ctx.Err()
	}
}

// sessionTCP starts a session of a server with places src over the kernel's TCP. It
// returns the client's end. ended is closed when the session has ended.
func sessionTCP(t *testing.T, src places.Source) (c *net.TCPConn, ended chan struct{}) {
	t.Helper()
	n := New(Config{Name: "Solo", Limits: generous, Places: src, Log: discard})
	n.ready.open()
	ours, theirs := tcpPair(t)
	ended = make(chan struct{})
	go func() {
		defer close(ended)
		n.startSession(context.Background(), newSession(n, theirs, false))
		n.clients.running.Wait()
	}()
	return ours, ended
}

// tcpPair makes a connection over the kernel's TCP. theirs is the server's end, which the
// caller must close.
func tcpPair(t *testing.T) (ours *net.TCPConn, theirs net.Conn) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	conn, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if theirs, err = ln.Accept(); err != nil {
		t.Fatal(err)
	}
	return conn.(*net.TCPConn), theirs
}

// write writes text to a connection.
func write(t *testing.T, c net.Conn, text string) {
	t.Helper()
	if _, err := io.WriteString(c, text); err != nil {
		t.Fatal(err)
	}
}

// TestResetClient: the lookup of a client that resets its connection is cancelled,
// whatever else it had sent, and no further lookup is made for it.
func TestResetClient(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, more string
		halfClose  bool
	}{
		{name: "waiting"},
		{name: "with more commands", more: "x\nWHATSAT kiwi 10 5\ny"},
		{name: "with more replies than are kept", more: strings.Repeat("x\n", maxQueued)},
		{name: "after a half-close", more: "x\nWHATSAT kiwi 10 5\ny", halfClose: true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			src := newBlockedPlaces()
			c, ended := sessionTCP(t, src)
			write(t, c, "IAMAT kiwi +1+1 1\nWHATSAT kiwi 10 5\n"+tt.more)
			<-src.requests
			if tt.halfClose {
				if err := c.CloseWrite(); err != nil {
					t.Fatal(err)
				}
				time.Sleep(2 * resetPoll) // for the session to read the end. If it does not, the test passes all the same
			}
			if err := c.SetLinger(0); err != nil { // so that Close resets
				t.Fatal(err)
			}
			c.Close()
			if err := <-src.cancelled; err != context.Canceled {
				t.Errorf("the lookup ended with %v, want it cancelled", err)
			}
			<-ended
			if len(src.requests) > 0 {
				t.Error("a further lookup was made")
			}
		})
	}
}

// TestHalfClosedClient: a client that half-closes its connection gets all replies, in
// order, also to lines that it sent during a lookup of places.
func TestHalfClosedClient(t *testing.T) {
	t.Parallel()
	src := newBlockedPlaces()
	c, ended := sessionTCP(t, src)
	const lines = 20_000
	go func() {
		defer c.CloseWrite()
		fmt.Fprint(c, "IAMAT kiwi +1+1 1\nWHATSAT kiwi 10 5\n")
		<-src.requests
		for i := range lines {
			if i == lines/2 {
				close(src.replies)
			}
			fmt.Fprintln(c, i)
		}
	}()
	replies, err := io.ReadAll(c)
	if err != nil {
		t.Fatal(err)
	}
	<-ended
	got := strings.Split(string(replies), "\n")
	if len(got) != 4+lines+1 || !strings.HasPrefix(got[0], "AT ") || got[1] != got[0] || got[2] != "{}" || got[3] != "" {
		t.Fatalf("%d lines: %.200q", len(got), replies)
	}
	for i := range lines {
		if want := fmt.Sprint("? ", i); got[4+i] != want {
			t.Fatalf("reply %d is %q, want %q", i, got[4+i], want)
		}
	}
}

// TestWhatsAtTimeout: a WHATSAT takes at most whatsAtTimeout, including the time that it
// waits for the server to be ready. In a stop it takes at most lookupTimeout.
func TestWhatsAtTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := New(Config{Name: "Solo", Limits: generous, Places: slowPlaces(time.Hour), Log: discard}) // never ready
		conversation(t, n, "IAMAT kiwi +1+1 1\n", 99)
		began := time.Now()
		if got := conversation(t, n, "WHATSAT kiwi 10 5\n", 99); !strings.Contains(got, "did not answer in time") {
			t.Errorf("the reply is %q, want a timeout", got)
		}
		if took := time.Since(began); took != whatsAtTimeout {
			t.Errorf("the WHATSAT took %v, want %v", took, whatsAtTimeout)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		h := newSolo(t, func(cfg *Config) { cfg.Places = slowPlaces(time.Hour) })
		settle()
		c := h.dial("Solo")
		c.ask("IAMAT kiwi +1+1 1")
		c.send("WHATSAT kiwi 10 5\nWHATSAT kiwi 10 5\nWHATSAT kiwi 10 5\n")
		time.Sleep(time.Second)
		began := time.Now()
		stopped := make(chan error, 1)
		go func() { stopped <- h.servers["Solo"].stop() }()
		replies, err := io.ReadAll(c.r)
		if err != nil || strings.Count(string(replies), "the request was cancelled") != 3 {
			t.Errorf("replies %q, %v, want three cancelled lookups", replies, err)
		}
		if err := <-stopped; err != nil || time.Since(began) != lookupTimeout {
			t.Errorf("Run = %v after %v, want nil after %v", err, time.Since(began), lookupTimeout)
		}
	})
}

// slowPlaces is a places source that replies after a while.
type slowPlaces time.Duration

func (s slowPlaces) Nearby(ctx context.Context, q places.Query) ([]byte, error) {
	select {
	case <-time.After(time.Duration(s)):
		return []byte("{}\n\n\n"), nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// TestSlowPlaces: earlier replies and other clients do not wait for a WHATSAT. A source
// that does not reply in time is given up.
func TestSlowPlaces(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newSolo(t, func(cfg *Config) { cfg.Places = slowPlaces(3 * time.Second) })
		settle()
		began := time.Now()
		c := h.dial("Solo")
		c.send("IAMAT kiwi +1+1 1\nWHATSAT kiwi 10 5\nafter\n")
		record := c.line()
		if waited := time.Since(began); waited != 0 {
			t.Errorf("the reply before the WHATSAT took %v", waited)
		}
		h.dial("Solo").ask("another client")
		if waited := time.Since(began); waited != 0 {
			t.Errorf("the reply to another client took %v", waited)
		}
		for _, want := range []string{record, "{}\n", "\n", "? after\n"} {
			if got := c.line(); got != want {
				t.Errorf("got %q, want %q", got, want)
			}
		}
		if waited := time.Since(began); waited != 3*time.Second {
			t.Errorf("the WHATSAT took %v, want 3s", waited)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		h := newSolo(t, func(cfg *Config) { cfg.Places = slowPlaces(time.Hour) })
		settle()
		began := time.Now()
		c := h.dial("Solo")
		record := c.ask("IAMAT kiwi +1+1 1")
		if got := c.ask("WHATSAT kiwi 10 5"); got != record {
			t.Errorf("got %q, want %q", got, record)
		}
		if waited := time.Since(began); waited != whatsAtTimeout {
			t.Errorf("the source was given up after %v, want %v", waited, whatsAtTimeout)
		}
		var object strings.Builder
		for line := c.line(); line != "\n"; line = c.line() {
			object.WriteString(line)
		}
		if !strings.Contains(object.String(), `"error_message" : "`) || !strings.Contains(object.String(), `"status" : "UNKNOWN_ERROR"`) {
			t.Errorf("reply %q, want an UNKNOWN_ERROR with a message", object.String())
		}
	})
}

// TestPlacesTurns: clients that ask much over many connections from one address do not keep
// another client from a source that lets clients take turns.
func TestPlacesTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newSolo(t, func(cfg *Config) {
			cfg.Limits.Conns = 2000
			cfg.Places = places.NewTurns(slowPlaces(time.Second), 4, 2000, nil)
		})
		settle()
		h.dial("Solo").ask("IAMAT kiwi +1+1 1")
		for i := range 600 {
			h.dialFrom("Solo", net.IPv4(192, 0, 2, 1)).send(fmt.Sprintf("WHATSAT kiwi 10.%d 5\n", i))
		}
		time.Sleep(time.Second / 2)
		began := time.Now()
		other := h.dialFrom("Solo", net.IPv4(198, 51, 100, 1))
		other.ask("WHATSAT kiwi 10 5")
		if got, waited := other.line(), time.Since(began); got != "{}\n" || waited > 2*time.Second {
			t.Errorf("another client got %q after %v, want {} after 2 s at most", got, waited)
		}
	})
}
