package node

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"regexp"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"herd/node/wire"
)

// conversation sends text to a session of n, in pieces of the given size, and half-closes
// the connection. It returns all replies.
func conversation(t *testing.T, n *Node, text string, piece int) string {
	t.Helper()
	ours, theirs := net.Pipe()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		n.startSession(context.Background(), newSession(n, &halfClosed{Conn: theirs}, false))
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

// endOfStream, written by itself, stands for a half-close, which net.Pipe does not have.
const endOfStream = "\x00end of stream\x00"

// halfClosed is the end of a net.Pipe that reads endOfStream as io.EOF.
type halfClosed struct {
	net.Conn
	rest []byte // read from Conn and not yet returned
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

// difference matches the part of a record that depends on the clock.
var difference = regexp.MustCompile(`(?m)^AT Solo [+-][0-9]+\.[0-9]{9} `)

// TestConversations: replies are exact, byte for byte except for the difference, in
// whatever pieces the input arrives.
func TestConversations(t *testing.T) {
	const kiwi = "AT Solo D kiwi +34.068930-118.445127 1621464827.959498503\n"
	tests := []struct{ name, in, want string }{
		{"nothing", "", ""},
		{"a blank line", "\n", "? \n"},
		{"blank lines", "\n\r\n \t\n", "? \n? \r\n?  \t\n"},
		{"a report", "IAMAT kiwi +34.068930-118.445127 1621464827.959498503\n", kiwi},
		{"a report without LF", "IAMAT kiwi +34.068930-118.445127 1621464827.959498503", kiwi},
		{"CRLF", "IAMAT kiwi +34.068930-118.445127 1621464827.959498503\r\n", kiwi},
		{"spaces of all kinds", "\f IAMAT\t\tkiwi \v +34.068930-118.445127\r1621464827.959498503 \n", kiwi},
		{"invalid, with raw bytes and CR", "\x00\xff \"é\r\n", "? \x00\xff \"é\r\n"},
		{"invalid, without LF", "WHATSAT", "? WHATSAT" + "\n"},
		{"an unknown client", "WHATSAT emu 10 5\n", "? WHATSAT emu 10 5\n"},
		{"AT is invalid", "AT Solo +0.1 kiwi +1+1 1\n", "? AT Solo +0.1 kiwi +1+1 1\n"},
		{"several commands, in order", "a\nIAMAT kiwi +34.068930-118.445127 1621464827.959498503\nb\nWHATSAT kiwi 10 5\nc",
			"? a\n" + kiwi + "? b\n" + kiwi + noPlacesJSON + "? c\n"},
		{"an older report is answered, not stored",
			"IAMAT kiwi +34.068930-118.445127 1621464827.959498503\nIAMAT kiwi +1+1 1\nWHATSAT kiwi 0 0\n",
			kiwi + "AT Solo D kiwi +1+1 1\n" + kiwi + noPlacesJSON},
		{"wildcards as a client", "IAMAT *.> +1+1 1\nWHATSAT *.> 5 0\nWHATSAT * 5 0\n",
			"AT Solo D *.> +1+1 1\nAT Solo D *.> +1+1 1\n" + noPlacesJSON + "? WHATSAT * 5 0\n"},
		{"the longest line", strings.Repeat("x", 8192) + "\n", "? " + strings.Repeat("x", 8192) + "\n"},
		{"a line too long", strings.Repeat("x", 8193) + "\nnext\n", "? " + strings.Repeat("x", 8192) + "\n? next\n"},
		{"a line far too long, without LF", strings.Repeat("xy", 50_000), "? " + strings.Repeat("xy", 4096) + "\n"},
		{"a report too long", "IAMAT kiwi +1+1 1" + strings.Repeat(" ", 8192) + "\n", "? IAMAT kiwi +1+1 1" + strings.Repeat(" ", 8192-17) + "\n"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			for _, piece := range []int{1, 7, 1000, 1 << 20} {
				h := newSolo(t, nil)
				h.servers["Solo"].node.AwaitReady(t.Context())
				got := difference.ReplaceAllString(conversation(t, h.servers["Solo"].node, tt.in, piece), "AT Solo D ")
				if got != tt.want {
					t.Errorf("in pieces of %d: replies %.300q, want %.300q", piece, got, tt.want)
				}
			}
		})
	}
}

// TestDifference: the difference is the server's clock minus the client's time, and each
// command has a clock reading of its own.
func TestDifference(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newSolo(t, nil)
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

// FuzzSession compares the replies of a session with those that the contract demands for
// each line by itself.
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
		var long uint64
		records := map[string]wire.Record{}
		for line := range bytes.Lines(in) {
			line = bytes.TrimSuffix(line, []byte("\n"))
			c := wire.ParseCommand(line)
			stored, known := records[string(c.Client)]
			switch {
			case len(line) > limits.Line:
				long++
				want.Write(wire.AppendInvalid(nil, line[:limits.Line]))
			case c.Verb == wire.IAmAt:
				// The receipts are in the same order as the server's, and close to them.
				// No time that the fuzzer finds is so near that this changes the winner.
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
			t.Fatalf("pieces of %d, limit %d: the replies to %q are\n%q, want\n%q", piece, limits.Line, in, got, want.String())
		}
		if counted := n.refusals[longLine].count.Load(); counted != long {
			t.Fatalf("%d lines are counted as too long, want %d", counted, long)
		}
	})
}

// TestPartialLineOfAnySize: a session keeps an incomplete line while it has no buffers.
// The next buffers have room for it, whatever its length.
func TestPartialLineOfAnySize(t *testing.T) {
	t.Parallel()
	for _, length := range []int{smallBuffer - 1, smallBuffer, smallBuffer + 1} {
		n := New(Config{Name: "Solo", Limits: generous, Log: discard})
		ours, theirs := tcpPair(t)
		s := newSession(n, theirs, false)
		s.partial = bytes.Repeat([]byte("x"), length)
		write(t, ours, "y\nz\n")
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
			t.Errorf("%d bytes of a line kept: replies %.20q… (%d bytes), want %.20q… (%d)", length, replies, len(replies), want, len(want))
		}
	}
}

// TestParkedSession: a client that pauses for so long that its session parks, also in the
// middle of a line, is served as if it had not paused. Parking does not change the idle
// timeout, and parked sessions do not delay a stop.
func TestParkedSession(t *testing.T) {
	t.Parallel()
	limits := generous
	limits.Idle = 4 * parkAfter
	_, address, stop := startSoloTCP(t, limits)
	dial := func() net.Conn {
		c, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		c.SetDeadline(time.Now().Add(10 * limits.Idle))
		return c
	}
	pause := func() { time.Sleep(parkAfter * 3 / 2) } // for the session to park. If it does not, the test passes all the same
	long := strings.Repeat("x", limits.Line)

	var all sync.WaitGroup
	for _, tt := range []struct {
		name, want string
		pieces     []string
	}{
		{"between lines", "? a\n? b\n", []string{"a\n", "b\n"}},
		{"in a line", "? abc\n? d\n", []string{"a", "b", "c\nd"}},
		{"after a line and a part of one", "? a\n? bc\n", []string{"a\nb", "c\n"}},
		{"in a line that is too long", "? " + long + "\n? z\n", []string{long + "xx", "y\nz\n"}},
		{"before the end", "? a\n? b\n", []string{"a\nb", ""}},
	} {
		all.Go(func() {
			c := dial()
			for i, piece := range tt.pieces {
				if i > 0 {
					pause()
				}
				write(t, c, piece)
			}
			if err := c.(*net.TCPConn).CloseWrite(); err != nil {
				t.Error(err)
			}
			if got, err := io.ReadAll(c); err != nil || string(got) != tt.want {
				t.Errorf("%s: replies %.100q, %v, want %.100q", tt.name, got, err, tt.want)
			}
		})
	}
	for name, letter := range map[string]string{"silent": "", "slow": "x"} { // neither parking nor bytes without LF count as a line
		all.Go(func() {
			c := dial()
			began := time.Now()
			write(t, c, "a\n")
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
				t.Errorf("the connection of a %s client was closed after %v, want %v", name, took, limits.Idle)
			}
		})
	}
	all.Wait()

	for _, input := range []string{"a\n", "a\nb"} {
		c := dial()
		write(t, c, input)
		if _, err := io.ReadFull(c, make([]byte, len("? a\n"))); err != nil {
			t.Fatal(err)
		}
	}
	pause()
	began := time.Now()
	if err := stop(); err != nil || time.Since(began) > stopTimeout/2 {
		t.Errorf("Run = %v, %v after the stop began", err, time.Since(began))
	}
}
