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

// patientPlaces answers when it is told to, and tells when it is asked and when the
// asker has gone.
type patientPlaces struct {
	asked, answer chan struct{}
	gone          chan error // why
}

func newPatientPlaces() patientPlaces {
	return patientPlaces{make(chan struct{}, 9), make(chan struct{}), make(chan error, 9)}
}

func (p patientPlaces) Nearby(ctx context.Context, q places.Query) ([]byte, error) {
	p.asked <- struct{}{}
	select {
	case <-p.answer:
		return []byte("{}"), nil
	case <-ctx.Done():
		p.gone <- ctx.Err()
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
		for s := newSession(n, theirs); s.run(context.Background()); { // each time that it has rested
		}
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

// TestVanishedClient: the question of a client that is gone is cancelled, whatever
// else it had sent, and so are those that it would have asked next.
func TestVanishedClient(t *testing.T) {
	t.Parallel()
	for name, more := range map[string]string{"at rest": "", "with more to say": "x\nWHATSAT kiwi 10 5\ny"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			src := newPatientPlaces()
			c, ended := overTCP(t, src)
			say(t, c, "IAMAT kiwi +1+1 1\nWHATSAT kiwi 10 5\n"+more)
			<-src.asked
			if more != "" {
				time.Sleep(2 * watchAfter) // so that this wakes the watch too; without it the test is as true
				say(t, c, "z")
			}
			vanish(t, c, src)
			<-ended
			if len(src.asked) > 0 {
				t.Error("the next question was asked, for nobody")
			}
		})
	}
}

// vanish resets the connection of a client whose question waits in src, which is to end it.
func vanish(t *testing.T, c *net.TCPConn, src patientPlaces) {
	t.Helper()
	if err := c.SetLinger(0); err != nil {
		t.Fatal(err)
	}
	c.Close()
	if err := <-src.gone; err != context.Canceled {
		t.Errorf("the question ended by %v, want it cancelled", err)
	}
}

// TestVanishedLater: a client that had asked before is watched for as long as its
// question takes.
func TestVanishedLater(t *testing.T) {
	t.Parallel()
	src := newPatientPlaces()
	c, ended := overTCP(t, src)
	say(t, c, "IAMAT kiwi +1+1 1\n")
	if _, err := c.Read(make([]byte, 100)); err != nil {
		t.Fatal(err)
	}
	say(t, c, "WHATSAT kiwi 10 5\n")
	<-src.asked
	time.Sleep(2 * restAfter) // so that a wait for its next command would have ended; without it the test is as true
	vanish(t, c, src)
	<-ended
}

// TestHalfClosedClient: one that has no more to say gets all its replies, and what
// it said while it waited is answered in order.
func TestHalfClosedClient(t *testing.T) {
	t.Parallel()
	src := newPatientPlaces()
	c, ended := overTCP(t, src)
	const lines = 20_000
	go func() {
		defer c.CloseWrite()
		fmt.Fprint(c, "IAMAT kiwi +1+1 1\nWHATSAT kiwi 10 5\n")
		<-src.asked
		time.Sleep(2 * watchAfter) // so that what follows wakes the watch; without it the test is as true
		for i := range lines {
			fmt.Fprintln(c, i)
		}
	}()
	go func() {
		time.Sleep(6 * watchAfter)
		close(src.answer)
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

// TestIdleAfterWatch: a watch does not change how long a client may be idle.
func TestIdleAfterWatch(t *testing.T) {
	t.Parallel()
	src := newPatientPlaces()
	c, _ := overTCP(t, src)
	say(t, c, "IAMAT kiwi +1+1 1\n")
	for range 3 {
		say(t, c, "WHATSAT kiwi 10 5\n")
		<-src.asked
		time.Sleep(2 * watchAfter) // so that it is watched; without it the test is as true
		src.answer <- struct{}{}
	}
	say(t, c, "last\n")
	if err := c.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if replies, err := io.ReadAll(c); err != nil || !strings.HasSuffix(string(replies), "}\n\n? last\n") {
		t.Errorf("replies %q, %v", replies, err)
	}
}

// TestWhatsAtInAll: waiting to be ready and asking take no longer than asking, and
// no longer than a stop allows.
func TestWhatsAtInAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := New(Config{Name: "Solo", Limits: generous, Places: slowPlaces(time.Hour), Log: discard}) // never ready
		conversation(t, n, "IAMAT kiwi +1+1 1\n", 99)
		began := time.Now()
		if got := conversation(t, n, "WHATSAT kiwi 10 5\n", 99); !strings.Contains(got, "did not answer in time") {
			t.Errorf("replies %q", got)
		}
		if took := time.Since(began); took != asking {
			t.Errorf("the WHATSAT took %v, want %v", took, asking)
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
		if err := <-stopped; err != nil || time.Since(began) != lastAsking {
			t.Errorf("Run = %v after %v, want nil after %v", err, time.Since(began), lastAsking)
		}
	})
}
