package node

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"regexp"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"herd/node/replica"
	"herd/node/wire"
	"herd/places"
)

// oneServer is a herd of one, for what a client sees.
func oneServer(t *testing.T, with func(*Config)) *testHerd {
	h := newTestHerd(t, "Solo")
	h.start("Solo", 1, with)
	return h
}

// conversation sends text to a session of n in pieces of the given size,
// half-closes in the way that a pipe can, by saying so to the reader, and returns
// all that comes back.
func conversation(t *testing.T, n *Node, text string, piece int) string {
	t.Helper()
	ours, theirs := net.Pipe()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		n.startSession(context.Background(), newSession(n, &halfClosed{Conn: theirs}))
		n.clients.running.Wait()
	}()
	go func() {
		for rest := text; rest != ""; {
			k := min(piece, len(rest))
			if _, err := io.WriteString(ours, rest[:k]); err != nil {
				return
			}
			rest = rest[k:]
		}
		ours.Write([]byte(endOfStream))
	}()
	replies, err := io.ReadAll(ours)
	if err != nil {
		t.Fatal(err)
	}
	<-ended
	return string(replies)
}

// endOfStream, written by itself, stands for a client's half-close, which a
// net.Pipe lacks.
const endOfStream = "\x00end of stream\x00"

type halfClosed struct {
	net.Conn
	rest []byte // read, and not yet taken
}

func (c *halfClosed) Read(p []byte) (int, error) {
	if len(c.rest) == 0 {
		buf := make([]byte, max(len(p), len(endOfStream)))
		n, err := c.Conn.Read(buf)
		if err != nil {
			return 0, err
		}
		if string(buf[:n]) == endOfStream {
			return 0, io.EOF
		}
		c.rest = buf[:n]
	}
	n := copy(p, c.rest)
	c.rest = c.rest[n:]
	return n, nil
}

var difference = regexp.MustCompile(`(?m)^AT Solo [+-][0-9]+\.[0-9]{9} `)

// TestConversations: replies to the byte, but for the clock's difference, however
// the stream is cut into pieces.
func TestConversations(t *testing.T) {
	const kiwi = "AT Solo D kiwi +34.068930-118.445127 1621464827.959498503\n"
	tests := []struct{ name, in, want string }{
		{"nothing", "", ""},
		{"a blank line", "\n", "? \n"},
		{"blank lines", "\n\r\n \t\n", "? \n? \r\n?  \t\n"},
		{"a report", "IAMAT kiwi +34.068930-118.445127 1621464827.959498503\n", kiwi},
		{"without its end", "IAMAT kiwi +34.068930-118.445127 1621464827.959498503", kiwi},
		{"CRLF", "IAMAT kiwi +34.068930-118.445127 1621464827.959498503\r\n", kiwi},
		{"spaces of all kinds", "\f IAMAT\t\tkiwi \v +34.068930-118.445127\r1621464827.959498503 \n", kiwi},
		{"invalid, with raw bytes and CR", "\x00\xff \"é\r\n", "? \x00\xff \"é\r\n"},
		{"invalid, without its end", "WHATSAT", "? WHATSAT" + "\n"},
		{"an unknown client", "WHATSAT emu 10 5\n", "? WHATSAT emu 10 5\n"},
		{"AT is not for clients", "AT Solo +0.1 kiwi +1+1 1\n", "? AT Solo +0.1 kiwi +1+1 1\n"},
		{"many at once, in order", "a\nIAMAT kiwi +34.068930-118.445127 1621464827.959498503\nb\nWHATSAT kiwi 10 5\nc",
			"? a\n" + kiwi + "? b\n" + kiwi + noPlacesJSON + "? c\n"},
		{"an older report is answered, not stored",
			"IAMAT kiwi +34.068930-118.445127 1621464827.959498503\nIAMAT kiwi +1+1 1\nWHATSAT kiwi 0 0\n",
			kiwi + "AT Solo D kiwi +1+1 1\n" + kiwi + noPlacesJSON},
		{"wildcards as a client", "IAMAT *.> +1+1 1\nWHATSAT *.> 5 0\nWHATSAT * 5 0\n",
			"AT Solo D *.> +1+1 1\nAT Solo D *.> +1+1 1\n" + noPlacesJSON + "? WHATSAT * 5 0\n"},
		{"the longest line", strings.Repeat("x", 8192) + "\n", "? " + strings.Repeat("x", 8192) + "\n"},
		{"a line too long", strings.Repeat("x", 8193) + "\nnext\n", "? " + strings.Repeat("x", 8192) + "\n? next\n"},
		{"a line far too long, without its end", strings.Repeat("xy", 50_000), "? " + strings.Repeat("xy", 4096) + "\n"},
		{"a report too long", "IAMAT kiwi +1+1 1" + strings.Repeat(" ", 8192) + "\n", "? IAMAT kiwi +1+1 1" + strings.Repeat(" ", 8192-17) + "\n"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			for _, piece := range []int{1, 7, 1000, 1 << 20} {
				h := oneServer(t, nil)
				h.servers["Solo"].node.AwaitReady(t.Context())
				got := difference.ReplaceAllString(conversation(t, h.servers["Solo"].node, tt.in, piece), "AT Solo D ")
				if got != tt.want {
					t.Errorf("in pieces of %d: replies %.300q, want %.300q", piece, got, tt.want)
				}
			}
		})
	}
}

// TestClock: differences are the server's clock less the client's time, and no
// two commands get the same clock reading.
func TestClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := oneServer(t, nil)
		settle()
		now := wire.InstantOf(time.Now()) // virtual time stands still
		c := h.dial("Solo")
		for i := range int32(3) {
			want := fmt.Sprintf("AT Solo +5.%09d kiwi +1+1 %d\n", now.Nsec+i, now.Sec-5)
			if got := c.ask(fmt.Sprintf("IAMAT kiwi +1+1 %d", now.Sec-5)); got != want {
				t.Errorf("reply %d = %q, want %q", i, got, want)
			}
		}
	})
}

// slowPlaces answers after a while.
type slowPlaces time.Duration

func (s slowPlaces) Nearby(ctx context.Context, q places.Query) ([]byte, error) {
	select {
	case <-time.After(time.Duration(s)):
		return []byte("{}\n\n\n"), nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// TestSlowPlaces: replies before a WHATSAT don't wait for it, other clients
// don't, and a source that never answers is given up.
func TestSlowPlaces(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := oneServer(t, func(cfg *Config) { cfg.Places = slowPlaces(3 * time.Second) })
		settle()
		began := time.Now()
		c := h.dial("Solo")
		c.send("IAMAT kiwi +1+1 1\nWHATSAT kiwi 10 5\nafter\n")
		record := c.line()
		if waited := time.Since(began); waited != 0 {
			t.Errorf("the report before the WHATSAT was answered after %v", waited)
		}
		h.dial("Solo").ask("another client")
		if waited := time.Since(began); waited != 0 {
			t.Errorf("another client was answered after %v", waited)
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
		h := oneServer(t, func(cfg *Config) { cfg.Places = slowPlaces(time.Hour) })
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
			t.Errorf("answer %q, want an UNKNOWN_ERROR with a message", object.String())
		}
	})
}

// TestLimits: each limit, and that the next client is not hurt by it.
func TestLimits(t *testing.T) {
	t.Run("idle", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			h := oneServer(t, func(cfg *Config) { cfg.Limits.Idle = time.Minute })
			settle()
			c := h.dial("Solo")
			for range 5 { // lines keep it open, whatever they say
				time.Sleep(50 * time.Second)
				c.ask("x")
			}
			quiet := time.Now()
			stopped := make(chan struct{})
			go func() { // bytes without a line's end don't
				defer close(stopped)
				for err := error(nil); err == nil; {
					time.Sleep(time.Second)
					_, err = io.WriteString(c.conn, "y")
				}
			}()
			if rest, err := io.ReadAll(c.r); err != nil || len(rest) > 0 {
				t.Errorf("the idle client read %q, %v, want nothing and the end", rest, err)
			}
			if waited := time.Since(quiet); waited < 50*time.Second || waited > time.Minute {
				t.Errorf("it was closed after %v, want about a minute", waited)
			}
			c.conn.Close()
			<-stopped
		})
	})
	t.Run("write", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			h := oneServer(t, func(cfg *Config) { cfg.Limits.Write = time.Minute })
			settle()
			c := h.dial("Solo")
			began := time.Now()
			c.send("x\ny\n")
			time.Sleep(2 * time.Minute) // reads nothing
			if rest, err := io.ReadAll(c.r); len(rest) > 0 {
				t.Errorf("after %v it read %q, %v, want the end", time.Since(began), rest, err)
			}
			h.dial("Solo").ask("x")
		})
	})
	t.Run("connections", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			h := oneServer(t, func(cfg *Config) { cfg.Limits.Conns = 2 })
			settle()
			first, second := h.dial("Solo"), h.dial("Solo")
			first.ask("x")
			second.ask("x")
			h.refused(h.dial("Solo"))
			first.conn.Close()
			settle()
			h.dial("Solo").ask("x")
		})
	})
	t.Run("connections of one address", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			h := oneServer(t, func(cfg *Config) { cfg.Limits.Conns = 4 })
			settle()
			far, farther := net.IPv4(203, 0, 113, 1), net.IPv4(203, 0, 113, 2)
			first, second := h.dialFrom("Solo", far), h.dialFrom("Solo", far)
			first.ask("x")
			second.ask("x")
			h.refused(h.dialFrom("Solo", far))
			h.dialFrom("Solo", farther).ask("x")
			first.conn.Close()
			settle()
			h.dialFrom("Solo", far).ask("x")
		})
		synctest.Test(t, func(t *testing.T) {
			h := oneServer(t, func(cfg *Config) { cfg.Limits.Conns = 4 })
			settle()
			for range 4 { // loopback is not bound
				h.dialFrom("Solo", net.IPv4(127, 0, 0, 1)).ask("x")
			}
		})
	})
	t.Run("clients", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			h := oneServer(t, func(cfg *Config) { cfg.Limits.Clients = 1 })
			settle()
			c := h.dial("Solo")
			c.ask("IAMAT kiwi +1+1 1")
			if got, want := c.ask("IAMAT emu +1+1 1"), "? IAMAT emu +1+1 1\n"; got != want {
				t.Errorf("a client too many was answered %q, want %q", got, want)
			}
			if got := c.ask("IAMAT kiwi +1+1 2"); !strings.HasPrefix(got, "AT ") {
				t.Errorf("a known client was answered %q", got)
			}
		})
	})
}

// TestNotReadyYet: a WHATSAT waits until the server is ready, an IAMAT does not.
func TestNotReadyYet(t *testing.T) {
	tests := []struct {
		name  string
		setUp func(*testHerd)
		ready time.Duration
	}{
		{"neighbours do not answer", func(h *testHerd) {}, replica.GreetingTimeout},
		{"neighbours answer", func(h *testHerd) { h.start("B", 2, nil) }, 0},
		{"no bus", func(h *testHerd) { h.network.Stop() }, connectTimeout},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := newTestHerd(t, "A-B")
				tt.setUp(h)
				began := time.Now()
				h.start("A", 1, nil)
				c := h.dial("A")
				want := c.ask("IAMAT kiwi +1+1 1")
				if waited := time.Since(began); waited > nameClaimTimeout {
					t.Errorf("IAMAT took %v", waited)
				}
				if got := c.ask("WHATSAT kiwi 0 0"); got != want {
					t.Errorf("got %q, want %q", got, want)
				}
				const tick = 20 * time.Millisecond // looking whether it is ready takes turns
				if waited := time.Since(began); waited < tt.ready || waited > tt.ready+tick {
					t.Errorf("WHATSAT was answered %v after the start, want %v", waited, tt.ready)
				}
			})
		})
	}
}

// TestStop: what was read is answered and flooded, what was not is not, and Run
// returns only then.
func TestStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newTestHerd(t, "A-B")
		h.start("A", 1, func(cfg *Config) { cfg.Places = slowPlaces(2 * time.Second) })
		h.start("B", 2, nil)
		settle()
		h.network.SetDelay(100 * time.Millisecond)
		c := h.dial("A")
		c.send("IAMAT kiwi +1+1 1\nWHATSAT kiwi 10 5\nIAMAT kiwi +1+1 2\nan unfinished line")
		c.line()
		began := time.Now()
		stopped := make(chan error, 1)
		go func() { stopped <- h.servers["A"].stop() }()
		settle()
		for range 3 {
			c.line() // of the WHATSAT
		}
		last := c.line()
		if rest, err := io.ReadAll(c.r); len(rest) > 0 || err != nil {
			t.Errorf("after the last reply came %q, %v", rest, err)
		}
		if err := <-stopped; err != nil {
			t.Errorf("Run = %v, want nil", err)
		}
		// Confirmed, so B knows when Run has returned: a way there and one back.
		if got := h.where("B", "kiwi"); got != last {
			t.Errorf("when A had stopped B had %q, want %q", got, last)
		}
		if took := time.Since(began); took < 2*time.Second+200*time.Millisecond || took > 3*time.Second {
			t.Errorf("the stop took %v", took)
		}
	})
}

// TestStopUnconfirmed: a neighbour that is up and does not confirm makes the stop
// an incomplete one, after all its time; one that is down is not waited for.
func TestStopUnconfirmed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newTestHerd(t, "A-B")
		slow := startSlow(h, "A")
		h.start("B", 2, nil)
		settle()
		slow.mu.Lock()
		slow.fail = errors.New("not now")
		slow.mu.Unlock()
		h.dial("A").ask("IAMAT kiwi +1+1 1")
		began := time.Now()
		err := h.servers["A"].stop()
		if err == nil || !strings.Contains(err.Error(), "1 records were not sent within 8s") {
			t.Errorf("Run = %v, want the counts of what was not handed over", err)
		}
		if took := time.Since(began); took != stopTimeout {
			t.Errorf("the stop took %v, want %v", took, stopTimeout)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		h := newTestHerd(t, "A-B")
		h.start("A", 1, nil)
		time.Sleep(time.Second)
		h.dial("A").ask("IAMAT kiwi +1+1 1")
		began := time.Now()
		if err := h.servers["A"].stop(); err != nil || time.Since(began) != 0 {
			t.Errorf("Run = %v after %v, with its neighbour down, want nil at once", err, time.Since(began))
		}
	})
}

// FuzzSession holds a whole session, buffers and all, against what the contract
// says of each line by itself.
func FuzzSession(f *testing.F) {
	f.Add([]byte("IAMAT kiwi +1+1 1\r\n\n? x\nWHATSAT kiwi 0 0\nWHATSAT emu 0 0"), uint8(3), uint16(64))
	f.Add(bytes.Repeat([]byte("0123456789\n01234567890123456789"), 30), uint8(200), uint16(16))
	f.Add(bytes.Repeat([]byte("x"), 300), uint8(7), uint16(100))
	f.Fuzz(func(t *testing.T, in []byte, piece uint8, limit uint16) {
		limits := generous
		limits.Line = 1 + int(limit)
		limits.Clients = 1 << 30
		n := New(Config{Name: "Solo", Limits: limits, Places: noPlaces{}, Log: discard})
		n.ready.open()
		in = bytes.ReplaceAll(in, []byte(endOfStream), nil)
		got := difference.ReplaceAllString(conversation(t, n, string(in), 1+int(piece)), "AT Solo D ")

		var want bytes.Buffer
		records := map[string]wire.Record{}
		for line := range bytes.Lines(in) {
			line = bytes.TrimSuffix(line, []byte("\n"))
			c := wire.ParseCommand(line)
			stored, known := records[string(c.Client)]
			switch {
			case len(line) > limits.Line:
				want.Write(wire.AppendInvalid(nil, line[:limits.Line]))
			case c.Verb == wire.IAmAt:
				// Within this test all receipts are far from the times that a fuzzer
				// finds, or near and in order: the rank decides as the server's does.
				fmt.Fprintf(&want, "AT Solo D %s %s %s\n", c.Client, c.Location, c.TimeText)
				_, r := wire.AppendRecord(nil, "Solo", c, wire.InstantOf(time.Now()))
				if !known || wire.Compare(r, stored) > 0 {
					records[string(c.Client)] = r
				}
			case c.Verb == wire.WhatsAt && known:
				want.Write(difference.ReplaceAll(stored.Line, []byte("AT Solo D ")))
				want.WriteString("\n" + noPlacesJSON)
			default:
				want.Write(wire.AppendInvalid(nil, line))
			}
		}
		if got != want.String() {
			t.Fatalf("pieces of %d, limit %d: %q was answered\n%q, want\n%q", piece, limits.Line, in, got, want.String())
		}
	})
}

// TestRestOfAnySize: what has come of a line is kept while no more comes, whatever
// workspace the session gets after that.
func TestRestOfAnySize(t *testing.T) {
	t.Parallel()
	for _, length := range []int{smallBuffer - 1, smallBuffer, smallBuffer + 1} {
		n := New(Config{Name: "Solo", Limits: generous, Log: discard})
		ours, theirs := tcpPair(t)
		s := newSession(n, theirs)
		s.partial = bytes.Repeat([]byte("x"), length) // and the workspace it was read into went to others
		say(t, ours, "y\nz\n")
		if err := ours.CloseWrite(); err != nil {
			t.Fatal(err)
		}
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			n.startSession(context.Background(), s)
			n.clients.running.Wait()
		}()
		replies, err := io.ReadAll(ours)
		if err != nil {
			t.Fatal(err)
		}
		<-ended
		if want := "? " + strings.Repeat("x", length) + "y\n? z\n"; string(replies) != want {
			t.Errorf("a line of which %d bytes had come: replies %.20q… (%d bytes), want %.20q… (%d)", length, replies, len(replies), want, len(want))
		}
	}
}

// TestRest: a client that says nothing for a while, in the middle of a line too, is
// served on as if it had not paused, and a server stops while it does.
func TestRest(t *testing.T) {
	t.Parallel()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	h := newTestHerd(t, "Solo")
	limits := generous
	limits.Idle = 4 * parkAfter
	n := New(Config{Name: "Solo", Epoch: 1, Limits: limits, Bus: h.network.Bus("Solo"), Places: noPlaces{}, Log: discard})
	ctx, cancel := context.WithCancel(context.Background())
	stopped := make(chan error, 1)
	go func() { stopped <- n.Run(ctx, ln) }()
	dial := func() net.Conn {
		c, err := net.Dial("tcp", ln.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		c.SetDeadline(time.Now().Add(10 * limits.Idle))
		return c
	}
	pause := func() { time.Sleep(parkAfter * 3 / 2) } // so that the session rests; without it the test is as true
	long := strings.Repeat("x", limits.Line)

	var all sync.WaitGroup
	for _, tt := range []struct {
		name, want string
		pieces     []string
	}{
		{"between lines", "? a\n? b\n", []string{"a\n", "b\n"}},
		{"amid a line", "? abc\n? d\n", []string{"a", "b", "c\nd"}},
		{"behind a line", "? a\n? bc\n", []string{"a\nb", "c\n"}},
		{"amid a line too long", "? " + long + "\n? z\n", []string{long + "xx", "y\nz\n"}},
		{"before the end", "? a\n? b\n", []string{"a\nb", ""}},
	} {
		all.Go(func() {
			c := dial()
			for i, piece := range tt.pieces {
				if i > 0 {
					pause()
				}
				say(t, c, piece)
			}
			if err := c.(*net.TCPConn).CloseWrite(); err != nil {
				t.Error(err)
			}
			if got, err := io.ReadAll(c); err != nil || string(got) != tt.want {
				t.Errorf("%s: replies %.100q, %v, want %.100q", tt.name, got, err, tt.want)
			}
		})
	}
	for name, letter := range map[string]string{"silent": "", "slow": "x"} { // rests do not count as lines
		all.Go(func() {
			c := dial()
			began := time.Now()
			say(t, c, "a\n")
			ended := make(chan struct{})
			go func() {
				defer close(ended)
				io.ReadAll(c)
			}()
			for open := true; open; {
				select {
				case <-ended:
					open = false
				case <-time.After(parkAfter * 6 / 5):
					io.WriteString(c, letter) // it may be closed
				}
			}
			if took := time.Since(began); took < limits.Idle || took > 2*limits.Idle {
				t.Errorf("a client that was %s was let go after %v, want %v", name, took, limits.Idle)
			}
		})
	}
	all.Wait()

	for _, said := range []string{"a\n", "a\nb"} {
		c := dial()
		say(t, c, said)
		if _, err := io.ReadFull(c, make([]byte, len("? a\n"))); err != nil {
			t.Fatal(err)
		}
	}
	pause()
	began := time.Now()
	cancel()
	if err := <-stopped; err != nil || time.Since(began) > stopTimeout/2 {
		t.Errorf("Run = %v, %v after the stop began", err, time.Since(began))
	}
}

// TestListenerFails: a server whose listener fails ends its sessions as in a stop.
func TestListenerFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := oneServer(t, nil)
		settle()
		c := h.dial("Solo")
		c.ask("IAMAT kiwi +1+1 1")
		settle()
		began := time.Now()
		h.servers["Solo"].ln.Close()
		if rest, err := io.ReadAll(c.r); len(rest) > 0 || err != nil {
			t.Errorf("read %q, %v", rest, err)
		}
		if took := time.Since(began); took > time.Second {
			t.Errorf("the session ended %v after the listener", took)
		}
	})
}
