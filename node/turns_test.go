package node

import (
	"bufio"
	"context"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"herd/places"
)

// takeAllTurns keeps all turns until giveBack is called.
func takeAllTurns() (giveBack func()) {
	for range cap(turns) {
		turns <- struct{}{}
	}
	return func() {
		for range cap(turns) {
			<-turns
		}
	}
}

// TestTurns: while clients that do not wait for replies use up all turns, clients that wait
// are served.
func TestTurns(t *testing.T) {
	_, address, _ := startSoloTCP(t, generous)
	connect := func() *client {
		conn, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		return &client{t, conn, bufio.NewReader(conn)}
	}
	hasty := connect()
	giveBack := takeAllTurns()
	const lines = 10_000
	hasty.send(strings.Repeat("x\n", lines))
	for range 20 {
		if got := connect().ask("x"); got != "? x\n" {
			t.Errorf("a client that waits for its replies got %q", got)
		}
	}
	hasty.conn.SetReadDeadline(time.Now().Add(100 * time.Millisecond)) // too short a time makes the test pass, not fail
	if n, _ := io.ReadAll(hasty.r); len(n) > 0 {
		t.Errorf("a client that does not wait got %d bytes without a turn", len(n))
	}
	giveBack()
	hasty.conn.SetReadDeadline(time.Now().Add(time.Minute))
	for range lines {
		if got := hasty.line(); got != "? x\n" {
			t.Fatalf("got %q", got)
		}
	}
}

// TestTurnsOfReads: a client needs a turn, too, if each read brings few lines, but none has to
// wait for input.
func TestTurnsOfReads(t *testing.T) {
	n := New(Config{Name: "Solo", Limits: generous, Log: discard})
	c, theirs := tcpPair(t)
	for _, conn := range []*net.TCPConn{c, theirs.(*net.TCPConn)} {
		if err := conn.SetReadBuffer(2 << 20); err != nil {
			t.Fatal(err)
		}
	}
	const lines = 400                                                 // of 1000 bytes: 16 in a read
	write(t, c, strings.Repeat(strings.Repeat("x", 999)+"\n", lines)) // all of it is there before the first read
	giveBack := takeAllTurns()
	n.startSession(context.Background(), newSession(n, theirs, false))
	c.SetReadDeadline(time.Now().Add(100 * time.Millisecond)) // too short a time makes the test pass, not fail
	first, _ := io.ReadAll(c)
	giveBack()
	if most := lines * 1002; len(first) >= most {
		t.Errorf("all %d bytes of replies came without a turn", len(first))
	}
	c.CloseWrite()
	c.SetReadDeadline(time.Now().Add(time.Minute))
	if rest, err := io.ReadAll(c); len(first)+len(rest) != lines*1002 || err != nil {
		t.Errorf("%d bytes of replies, %v; want %d", len(first)+len(rest), err, lines*1002)
	}
	n.clients.running.Wait()
}

// TestTurnAfterPanic: a session that panics in its turn returns it.
func TestTurnAfterPanic(t *testing.T) {
	n := New(Config{Name: "Solo", Limits: generous, Log: discard})
	for range cap(turns) + 1 {
		_, theirs := net.Pipe()
		s := newSession(n, theirs, false)
		s.takeTurn()
		n.sessionEnded(t.Context(), s, false, "test")
	}
}

// TestTurnsOfLookups: lookups of places behind another one need turns, too, but a slow source
// holds none.
func TestTurnsOfLookups(t *testing.T) {
	src := newBlockedPlaces()
	n := New(Config{Name: "Solo", Limits: generous, Places: src, Log: discard})
	n.ready.open()
	c, theirs := tcpPair(t)
	n.startSession(context.Background(), newSession(n, theirs, false))
	write(t, c, "IAMAT kiwi +1+1 1\nWHATSAT kiwi 10 5\nWHATSAT kiwi 10 6\nIAMAT emu +1+1 1\n")
	<-src.requests
	for _, queued := n.Record([]byte("emu")); !queued; _, queued = n.Record([]byte("emu")) {
		time.Sleep(time.Millisecond)
	}
	giveBack := takeAllTurns()
	src.replies <- struct{}{}
	select {
	case <-src.requests:
		t.Fatal("a lookup without a turn")
	case <-time.After(50 * time.Millisecond): // too short a time makes the test pass, not fail
	}
	giveBack()
	<-src.requests
	takeAllTurns()()
	if len(src.cancelled) > 0 {
		t.Error("a slow lookup held its turn until its time was over")
	}
	close(src.replies)
	c.CloseWrite()
	if _, err := io.ReadAll(c); err != nil {
		t.Error(err)
	}
	n.clients.running.Wait()
}

// turnPlaces counts the queries that come while no session has a turn.
type turnPlaces struct{ with, without atomic.Int64 }

func (p *turnPlaces) Nearby(context.Context, places.Query) ([]byte, error) {
	if len(turns) > 0 {
		p.with.Add(1)
	} else {
		p.without.Add(1)
	}
	return []byte("{}"), nil
}

// TestTurnsOfManyLookups: a client that sends WHATSATs without waiting needs a turn for each, but
// for the first ones.
func TestTurnsOfManyLookups(t *testing.T) {
	src := &turnPlaces{}
	n := New(Config{Name: "Solo", Limits: generous, Places: src, Log: discard})
	n.ready.open()
	c, theirs := tcpPair(t)
	const lookups = 4_000 // they fit into the socket's buffers, so no read waits for input
	write(t, c, "IAMAT kiwi +1+1 1\n"+strings.Repeat("WHATSAT kiwi 10 5\n", lookups))
	c.CloseWrite()
	n.startSession(t.Context(), newSession(n, theirs, false))
	if _, err := io.Copy(io.Discard, c); err != nil {
		t.Error(err)
	}
	n.clients.running.Wait()
	if with, without := src.with.Load(), src.without.Load(); with+without != lookups || without > lookups/2 { // a turn ends before a lookup that takes long
		t.Errorf("%d lookups with a turn and %d without, want most of %d with a turn", with, without, lookups)
	}
}
