package node

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"herd/node/wire"
	"herd/places"
)

// TestReportBehindLookup: a report behind a WHATSAT is seen by others at once, also at a
// neighbour. Its reply waits, and the reply to the WHATSAT has the record before it.
func TestReportBehindLookup(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newTestHerd(t, "A-B")
		h.start("A", 1, func(cfg *Config) { cfg.Places = slowPlaces(3 * time.Second) })
		h.start("B", 2, nil).node.AwaitReady(t.Context())
		h.servers["A"].node.AwaitReady(t.Context())
		c := h.dial("A")
		before := c.ask("IAMAT kiwi +1+1 100")
		began := time.Now()
		c.send("WHATSAT kiwi 10 5\nIAMAT kiwi +2+2 200\nx\nWHATSAT kiwi 10 5\n")
		time.Sleep(lookupGrace + 2*maxBatchDelay)
		settle()
		c.send("IAMAT kiwi +3+3 300\n")
		settle()
		for _, server := range []string{"A", "B"} {
			if got := h.record(server, "kiwi"); !strings.Contains(got, " kiwi +3+3 300\n") {
				t.Errorf("during the lookup %s has %q, want the last report", server, got)
			}
		}
		if took := time.Since(began); took > time.Second {
			t.Fatalf("the reports took %v", took)
		}
		text := func(lines int) (text string, after time.Duration) {
			for range lines {
				text += c.line()
			}
			return text, time.Since(began)
		}
		if got, after := text(3); got != before+"{}\n\n" || after != 3*time.Second {
			t.Errorf("the first WHATSAT got %q after %v, want the record before the reports after 3 s", got, after)
		}
		second, after := text(1)
		if !strings.Contains(second, " kiwi +2+2 200\n") || after != 3*time.Second {
			t.Errorf("the report got %q after %v", second, after)
		}
		if got, _ := text(1); got != "? x\n" {
			t.Errorf("reply %q", got)
		}
		if got, after := text(3); got != second+"{}\n\n" || after < 6*time.Second {
			t.Errorf("the second WHATSAT got %q after %v, want %q with places after 6 s", got, after, second)
		}
		if got, _ := text(1); !strings.Contains(got, " kiwi +3+3 300\n") {
			t.Errorf("the last report got %q", got)
		}
		if got := c.ask("y"); got != "? y\n" {
			t.Errorf("reply %q, when nothing waits any more", got)
		}
	})
}

// TestReportBehindEarlyLookup: a WHATSAT waits until the server is ready. Reports behind it
// do not, and do not change its reply; records that come from neighbours meanwhile do.
func TestReportBehindEarlyLookup(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := New(Config{Name: "Solo", Limits: generous, Places: noPlaces{}, Log: discard})
		merge := func(report string) { // as if a neighbour had sent it
			n.locked(func() { n.replica.IAmAt(nil, wire.ParseCommand([]byte(report)), time.Now()) })
		}
		merge("IAMAT kiwi +1+1 1")
		began := time.Now()
		ours, theirs := net.Pipe()
		defer ours.Close()
		n.startSession(t.Context(), newSession(n, theirs, false))
		c := &client{t, ours, bufio.NewReader(ours)}
		c.send("WHATSAT kiwi 10 5\nWHATSAT emu 0 0\nWHATSAT tui 10 5\nIAMAT kiwi +2+2 2\nIAMAT tui +2+2 2\n")
		time.Sleep(2 * lookupGrace)
		settle()
		merge("IAMAT emu +3+3 3")
		if record, _ := n.Record([]byte("kiwi")); !strings.Contains(string(record), "+2+2 2") {
			t.Errorf("the record is %q, want that of the report behind the WHATSAT", record)
		}
		time.Sleep(time.Second)
		n.ready.open()
		var got strings.Builder
		for range 17 {
			got.WriteString(c.line())
		}
		want := "AT Solo D kiwi +1+1 1\n" + noPlacesJSON + "AT Solo D emu +3+3 3\n" + noPlacesJSON +
			"? WHATSAT tui 10 5\nAT Solo D kiwi +2+2 2\nAT Solo D tui +2+2 2\n"
		if got := difference.ReplaceAllString(got.String(), "AT Solo D "); got != want {
			t.Errorf("replies\n%s\nwant\n%s", got, want)
		}
		if took := time.Since(began); took > 2*time.Second {
			t.Errorf("the replies took %v", took)
		}
	})
}

// randomPlaces answers after a random time, often at once.
type randomPlaces struct{}

func (randomPlaces) Nearby(ctx context.Context, q places.Query) ([]byte, error) {
	if rand.IntN(2) == 0 {
		time.Sleep(time.Duration(rand.IntN(20_000)) * time.Microsecond)
	}
	return []byte("{}"), nil
}

// TestRepliesInOrder: random conversations have the same replies as if each command were
// handled after the reply to the one before.
func TestRepliesInOrder(t *testing.T) {
	for seed := range uint64(300) {
		synctest.Test(t, func(t *testing.T) {
			random := rand.New(rand.NewPCG(seed, 1))
			h := newSolo(t, func(cfg *Config) { cfg.Places = randomPlaces{} })
			settle()
			var in, want strings.Builder
			records := map[string]string{}
			for i := range 1 + random.IntN(60) {
				client := fmt.Sprint("client", random.IntN(3))
				switch random.IntN(4) {
				case 0, 1:
					report := fmt.Sprintf("%s +%d+1 %d", client, i, i+1)
					records[client] = "AT Solo D " + report + "\n"
					fmt.Fprintf(&in, "IAMAT %s\n", report)
					want.WriteString(records[client])
				case 2:
					command := fmt.Sprintf("WHATSAT %s %d 5", client, random.IntN(2)*10)
					fmt.Fprintln(&in, command)
					switch record, known := records[client]; {
					case !known:
						want.WriteString("? " + command + "\n")
					case strings.Contains(command, " 10 5"):
						want.WriteString(record + "{}\n\n")
					default:
						want.WriteString(record + noPlacesJSON)
					}
				case 3:
					fmt.Fprintln(&in, "x", i)
					fmt.Fprintf(&want, "? x %d\n", i)
				}
			}
			got := difference.ReplaceAllString(conversation(t, h.servers["Solo"].node, in.String(), 1+random.IntN(200)), "AT Solo D ")
			if got != want.String() {
				t.Errorf("seed %d: the replies to\n%s are\n%s\nwant\n%s", seed, in.String(), got, want.String())
			}
		})
	}
}

// TestQueuedRepliesAreBounded: while replies wait behind a lookup, a session reads only as
// much as it may keep. The rest follows when the lookup has ended.
func TestQueuedRepliesAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := newBlockedPlaces()
		h := newSolo(t, func(cfg *Config) { cfg.Places = src })
		settle()
		c := h.dial("Solo")
		c.ask("IAMAT kiwi +1+1 1")
		const lines = 10_000
		line := strings.Repeat("x", 99) + "\n"
		written := 0
		go func() {
			io.WriteString(c.conn, "WHATSAT kiwi 10 5\n")
			for range lines {
				n, _ := io.WriteString(c.conn, line)
				written += n
			}
		}()
		time.Sleep(time.Second)
		synctest.Wait()
		if most := 2*maxQueued + largeBuffer; written > most || written < maxQueued*9/10 {
			t.Errorf("the session has read %d bytes during the lookup, want about %d to %d", written, maxQueued, most)
		}
		close(src.replies)
		for range 3 {
			c.line()
		}
		for i := range lines {
			if got := c.line(); got != "? "+line {
				t.Fatalf("reply %d is %q", i, got)
			}
		}
	})
}

// TestIdleDuringLookup: a client that waits for a lookup is not idle. Its time begins
// with the reply.
func TestIdleDuringLookup(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const idle = 3 * time.Second
		h := newSolo(t, func(cfg *Config) {
			cfg.Places = slowPlaces(8 * time.Second)
			cfg.Limits.Idle = idle
		})
		settle()
		c := h.dial("Solo")
		record := c.ask("IAMAT kiwi +1+1 1")
		for range 2 {
			if got := c.ask("WHATSAT kiwi 10 5"); got != record {
				t.Errorf("reply %q, want %q", got, record)
			}
			c.line()
			c.line()
			time.Sleep(idle - time.Second)
			c.ask("x")
		}
		replied := time.Now()
		if rest, err := io.ReadAll(c.r); len(rest) > 0 || err != nil {
			t.Errorf("read %q, %v, want the end", rest, err)
		}
		if took := time.Since(replied); took < idle || took > 2*idle {
			t.Errorf("it was closed %v after the last reply, want %v", took, idle)
		}
	})
}

// TestQueuedRepliesNotRead: a client that takes nothing of a reply which waited behind a
// lookup is disconnected, and what it sent meanwhile is merged.
func TestQueuedRepliesNotRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newSolo(t, func(cfg *Config) {
			cfg.Places = slowPlaces(time.Second)
			cfg.Limits.Write = 10 * time.Second
		})
		settle()
		c := h.dial("Solo")
		c.ask("IAMAT kiwi +1+1 1")
		c.send("WHATSAT kiwi 10 5\nIAMAT kiwi +2+2 2\nWHATSAT kiwi 10 5\n")
		time.Sleep(15 * time.Second)
		n := h.servers["Solo"].node
		if open := n.Stats().Clients; open != 0 {
			t.Errorf("%d connections are open, want none", open)
		}
		if got := h.record("Solo", "kiwi"); !strings.Contains(got, "+2+2") {
			t.Errorf("the record is %q, want the last report", got)
		}
	})
}

// latePanic is a places source that panics after a while: at the call of that number.
type latePanic struct {
	calls *int
	at    int
}

func (p latePanic) Nearby(context.Context, places.Query) ([]byte, error) {
	*p.calls++
	time.Sleep(time.Second)
	if *p.calls == p.at {
		panic("no places")
	}
	return []byte("{}"), nil
}

// TestPanicInQueuedLookup: a panic in a lookup that other commands wait for closes the
// connection, with one log line and a count. Earlier replies have been sent.
func TestPanicInQueuedLookup(t *testing.T) {
	for at := 1; at <= 2; at++ {
		synctest.Test(t, func(t *testing.T) {
			var log logBuffer
			h := newSolo(t, func(cfg *Config) {
				cfg.Places = latePanic{new(int), at}
				cfg.Log = slog.New(slog.NewTextHandler(&log, nil))
			})
			settle()
			c := h.dial("Solo")
			record := c.ask("IAMAT kiwi +1+1 1")
			began := time.Now()
			c.send("WHATSAT kiwi 10 5\nx\nWHATSAT kiwi 10 6\ny\n")
			want := []string{"", record + "{}\n\n? x\n"}[at-1]
			if got, err := io.ReadAll(c.r); string(got) != want || err != nil {
				t.Errorf("call %d panics: replies %q, %v, want %q and the end", at, got, err, want)
			}
			if took := time.Since(began); took != time.Duration(at)*time.Second {
				t.Errorf("call %d panics: the connection was closed after %v", at, took)
			}
			settle()
			if s := h.servers["Solo"].node.Stats(); s.Panics != 1 || s.Clients != 0 {
				t.Errorf("%d panics, %d clients, want 1 and none", s.Panics, s.Clients)
			}
			for _, want := range []string{"no places", fmt.Sprint("WHATSAT kiwi 10 ", 4+at), "lookup.go"} {
				if !strings.Contains(log.String(), want) {
					t.Errorf("the log does not contain %q:\n%s", want, log.String())
				}
			}
		})
	}
}
