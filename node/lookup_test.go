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

// blockedPlaces is a places source that answers when the test says so.
type blockedPlaces struct {
	asked, answer chan struct{}
	cancelled     chan error // why
}

func newBlockedPlaces() blockedPlaces {
	return blockedPlaces{make(chan struct{}, 9), make(chan struct{}), make(chan error, 9)}
}

func (p blockedPlaces) Nearby(ctx context.Context, q places.Query) ([]byte, error) {
	p.asked <- struct{}{}
	select {
	case <-p.answer:
		return []byte("{}"), nil
	case <-ctx.Done():
		p.cancelled <- ctx.Err()
		return nil, ctx.Err()
	}
}

// overTCP is a session of a server with places src, over the kernel's TCP, and the
// client's end of it. ended is closed when the session has.
func overTCP(t *testing.T, src places.Source) (c *net.TCPConn, ended chan struct{}) {
	t.Helper()
	n := New(Config{Name: "Solo", Limits: generous, Places: src, Log: discard})
	n.ready.open()
	ours, theirs := tcpPair(t)
	ended = make(chan struct{})
	go func() {
		defer close(ended)
		n.startSession(context.Background(), newSession(n, theirs))
		n.clients.running.Wait()
	}()
	return ours, ended
}

// tcpPair is both ends of a connection over the kernel's TCP; theirs is for a session
// to close.
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

func say(t *testing.T, c net.Conn, text string) {
	t.Helper()
	if _, err := io.WriteString(c, text); err != nil {
		t.Fatal(err)
	}
}

// TestResetClient: the lookup of a client that resets its connection is cancelled,
// whatever else it had sent, and no further lookup is made for it.
func TestResetClient(t *testing.T) {
	t.Parallel()
	for name, more := range map[string]string{"waiting": "", "with more commands": "x\nWHATSAT kiwi 10 5\ny"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			src := newBlockedPlaces()
			c, ended := overTCP(t, src)
			say(t, c, "IAMAT kiwi +1+1 1\nWHATSAT kiwi 10 5\n"+more)
			<-src.asked
			if err := c.SetLinger(0); err != nil { // so that Close resets
				t.Fatal(err)
			}
			c.Close()
			if err := <-src.cancelled; err != context.Canceled {
				t.Errorf("the lookup ended with %v, want it cancelled", err)
			}
			<-ended
			if len(src.asked) > 0 {
				t.Error("a further lookup was made")
			}
		})
	}
}

// TestHalfClosedClient: one that has no more to say gets all its replies, and what
// it said while it waited is answered in order.
func TestHalfClosedClient(t *testing.T) {
	t.Parallel()
	src := newBlockedPlaces()
	c, ended := overTCP(t, src)
	const lines = 20_000
	go func() {
		defer c.CloseWrite()
		fmt.Fprint(c, "IAMAT kiwi +1+1 1\nWHATSAT kiwi 10 5\n")
		<-src.asked
		for i := range lines {
			if i == lines/2 {
				close(src.answer)
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

// TestWhatsAtInAll: waiting to be ready and whatsAtTimeout take no longer than whatsAtTimeout, and
// no longer than a stop allows.
func TestWhatsAtInAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := New(Config{Name: "Solo", Limits: generous, Places: slowPlaces(time.Hour), Log: discard}) // never ready
		conversation(t, n, "IAMAT kiwi +1+1 1\n", 99)
		began := time.Now()
		if got := conversation(t, n, "WHATSAT kiwi 10 5\n", 99); !strings.Contains(got, "did not answer in time") {
			t.Errorf("replies %q", got)
		}
		if took := time.Since(began); took != whatsAtTimeout {
			t.Errorf("the WHATSAT took %v, want %v", took, whatsAtTimeout)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		h := oneServer(t, func(cfg *Config) { cfg.Places = slowPlaces(time.Hour) })
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
			t.Errorf("replies %q, %v", replies, err)
		}
		if err := <-stopped; err != nil || time.Since(began) != lookupTimeout {
			t.Errorf("Run = %v after %v, want nil after %v", err, time.Since(began), lookupTimeout)
		}
	})
}
