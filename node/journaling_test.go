package node

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"herd/bus"
	"herd/bus/bustest"
)

// TestReplyAfterJournal: a reply is written after the record that won is in the journal,
// also if the report arrived during an append. Neighbours' records are appended too, and a
// restart reads all of them.
func TestReplyAfterJournal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newTestHerd(t, "A-B")
		j := &fakeJournal{}
		h.start("A", 1, withJournal(j)).node.AwaitReady(t.Context())
		h.start("B", 2, nil).node.AwaitReady(t.Context())
		hold := make(chan struct{})
		j.set(nil, hold)
		replies := make(chan string, 2)
		for _, command := range []string{"IAMAT kiwi +1+1 100\n", "IAMAT emu +1+1 100\n"} {
			c := h.dial("A")
			c.send(command)
			go func() {
				reply := c.line()
				if !j.has(reply) {
					t.Errorf("%q left before its record was in the journal", reply)
				}
				replies <- reply
			}()
			settle()
		}
		time.Sleep(journalTimeout / 2)
		if len(replies) > 0 {
			t.Fatal("a reply left while the journal was blocked")
		}
		// The first Append ends. The second report arrived during it and is not in it.
		second := make(chan struct{})
		j.set(nil, second)
		close(hold)
		settle()
		if len(replies) != 1 {
			t.Errorf("%d replies left after the first Append, want 1", len(replies))
		}
		close(second)
		<-replies
		<-replies
		j.set(nil, nil)

		theirs := h.dial("B").ask("IAMAT rhea +1+1 100")
		time.Sleep(minLinger + maxBatchDelay)
		if !j.has(theirs) {
			t.Error("a neighbour's record is not in the journal")
		}
		theirs = h.dial("B").ask("IAMAT rhea +1+1 101")
		settle()
		if reply := h.dial("A").ask("IAMAT rhea +1+1 99"); !j.has(theirs) {
			t.Errorf("%q left before the neighbour's record that won was in the journal", reply)
		}
		many := h.dial("B")
		for i := range lingerRecords {
			theirs = many.ask(fmt.Sprintf("IAMAT emu%d +1+1 100", i))
		}
		time.Sleep(minLinger + maxBatchDelay)
		if j.has(theirs) {
			t.Error("many records of a neighbour did not linger")
		}
		time.Sleep(maxLinger)
		if !j.has(theirs) {
			t.Error("many records of a neighbour are not in the journal")
		}
		theirs = h.record("B", "rhea")
		if err := h.servers["A"].stop(); err != nil || !j.closed {
			t.Errorf("Run = %v, journal closed %v", err, j.closed)
		}
		h.network.Stop() // so that only the journal can have the record
		h.start("A", 3, withJournal(j))
		if got := h.record("A", "rhea"); got != theirs {
			t.Errorf("after a restart A has %q, want %q", got, theirs)
		}
	})
}

// TestSessionsShareAppends: sessions share appends to a slow journal, also when some of
// them end. After all but one have ended, that one soon stops waiting for others.
func TestSessionsShareAppends(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const clients, reports = 8, 12
		journal := &fakeJournal{took: time.Millisecond}
		h := newTestHerd(t, "A")
		h.start("A", 1, withJournal(journal))
		settle()
		report := func(client int, reports int) (longest time.Duration) {
			c := h.dial("A")
			for i := range reports {
				began := time.Now()
				c.ask(fmt.Sprintf("IAMAT kiwi%d +1+1 %d", client, i))
				longest = max(longest, time.Since(began))
				time.Sleep(time.Duration(client+1) * journal.took / 20)
			}
			return longest
		}
		var all sync.WaitGroup
		for i := range clients {
			all.Go(func() {
				if longest := report(i, reports-i/4); longest > 3*journal.took {
					t.Errorf("a report took %v, want at most %v", longest, 3*journal.took)
				}
			})
		}
		all.Wait()
		if journal.appends > reports+4 {
			t.Errorf("%d appends for %d reports of each of %d clients, want at most %d", journal.appends, reports, clients, reports+4)
		}
		if longest := report(clients, 1); longest > journal.took+maxBatchDelay { // it waits for sessions that have ended
			t.Errorf("the first report of the only client took %v, want at most %v", longest, journal.took+maxBatchDelay)
		}
		if longest := report(clients, 3); longest != journal.took {
			t.Errorf("reports of the only client took up to %v, want %v", longest, journal.took)
		}
	})
}

// TestFailingJournal: while the journal fails, replies wait, and after journalTimeout the
// connection is closed without a reply. An event and Ready report it. The append is
// retried, with the records that were not acknowledged.
func TestFailingJournal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newTestHerd(t, "A-B")
		var mu sync.Mutex
		var events []string
		h.network.Tap(func(subject string, m bus.Message) {
			if subject == "herd.event.A.journal" {
				mu.Lock()
				defer mu.Unlock()
				events = append(events, string(m.Data))
			}
		})
		j := &fakeJournal{}
		var log logBuffer
		a := h.start("A", 1, func(cfg *Config) {
			cfg.Journal, cfg.Log = j, slog.New(slog.NewTextHandler(&log, nil))
		}).node
		h.start("B", 2, nil).node.AwaitReady(t.Context())
		j.set(errors.New("disk full"), nil)
		began := time.Now()
		c := h.dial("A")
		c.send("IAMAT kiwi +1+1 100\n")
		if rest, err := io.ReadAll(c.r); len(rest) > 0 || err != nil {
			t.Errorf("read %q, %v, want the end and no reply", rest, err)
		}
		if waited := time.Since(began); waited != journalTimeout {
			t.Errorf("the connection was closed after %v, want %v", waited, journalTimeout)
		}
		if err := a.Ready(); err == nil || !strings.Contains(err.Error(), "the journal fails") {
			t.Errorf("Ready = %v while the journal fails", err)
		}
		if got := h.dial("A").ask("invalid"); got != "? invalid\n" {
			t.Errorf("the reply to an invalid command is %q", got)
		}
		j.set(nil, nil)
		time.Sleep(2 * journalRetry)
		if got := h.record("A", "kiwi"); !j.has(got) {
			t.Errorf("%q is not in the journal, although it works again", got)
		}
		if err := a.Ready(); err != nil {
			t.Errorf("Ready = %v after the journal works again, want nil", err)
		}
		h.dial("A").ask("IAMAT kiwi +1+1 101")
		mu.Lock()
		defer mu.Unlock()
		if len(events) != 2 || !strings.Contains(events[0], "the journal fails, replies wait: disk full") || !strings.Contains(events[1], "works again") {
			t.Errorf("events %q, want one for the failure and one for its end", events)
		}
		if want := `level=INFO msg=journal node=A text="the journal works again"`; !strings.Contains(log.String(), want) {
			t.Errorf("the log does not have %s: %s", want, log.String())
		}
	})
}

// TestStopWithFailingJournal: a stop ends within stopTimeout, and Run returns the number
// of records that are not in the journal.
func TestStopWithFailingJournal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newTestHerd(t, "Solo")
		j := &fakeJournal{}
		h.start("Solo", 1, withJournal(j)).node.AwaitReady(t.Context())
		j.set(errors.New("disk full"), nil)
		h.dial("Solo").send("IAMAT kiwi +1+1 100\n")
		settle()
		began := time.Now()
		err := h.servers["Solo"].stop()
		if err == nil || !strings.Contains(err.Error(), "1 record is not in it") {
			t.Errorf("Run = %v, want an error with the number of records", err)
		}
		if took := time.Since(began); took > stopTimeout {
			t.Errorf("the stop took %v, want at most %v", took, stopTimeout)
		}
	})
}

// TestCloseJournalAppendsRest: closeJournal appends the news that is not in the journal
// yet.
func TestCloseJournalAppendsRest(t *testing.T) {
	j := &fakeJournal{}
	n := New(Config{
		Name: "A", Neighbours: []string{"B"}, Limits: generous, Bus: (&bustest.Network{}).Bus("A", "B"), Places: noPlaces{}, Log: discard, Journal: j,
	})
	if err := n.replayJournal(); err != nil {
		t.Fatal(err)
	}
	const record = "AT B +1.000000000 kiwi +1+1 100"
	n.Receive(bus.Message{Lane: bus.Records, Peer: "B", Data: []byte(record)})
	if err := n.closeJournal(); err != nil || !j.has(record) || !j.closed {
		t.Errorf("closeJournal = %v, record in the journal %v, closed %v", err, j.has(record), j.closed)
	}
}

// TestMetricsDuringReplay: Stats and Status may be called while the journal is read. The
// race detector checks it.
func TestMetricsDuringReplay(t *testing.T) {
	t.Parallel()
	j := &fakeJournal{}
	for i := range 1000 {
		j.lines = append(j.lines, fmt.Sprintf("AT A +1.000000000 kiwi%d +1+1 100", i))
	}
	n := New(Config{Name: "A", Limits: generous, Bus: (&bustest.Network{}).Bus("A"), Log: discard, Journal: j})
	done := make(chan error)
	go func() { done <- n.replayJournal() }()
	for running := true; running; {
		n.Stats()
		n.Status()
		select {
		case err := <-done:
			if err != nil {
				t.Fatal(err)
			}
			running = false
		default:
		}
	}
	if got := n.Stats().Records; got != 1000 {
		t.Errorf("%d records, want 1000", got)
	}
}

// TestHungJournal: while the disk does not answer, the server is not ready once replies
// have waited for too long. A stop ends in time, and Run returns how many records are not
// in the journal. Nothing is wrong when the disk answers again.
func TestHungJournal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newTestHerd(t, "Solo")
		j := &fakeJournal{}
		n := h.start("Solo", 1, withJournal(j)).node
		n.AwaitReady(t.Context())
		hang := func() (resume func()) {
			hold := make(chan struct{})
			j.set(nil, hold)
			h.dial("Solo").send("IAMAT kiwi +1+1 100\n")
			time.Sleep(journalTimeout - time.Second)
			if err := n.Ready(); err != nil {
				t.Errorf("Ready = %v while replies may still come", err)
			}
			time.Sleep(2 * time.Second)
			if err := n.Ready(); err == nil || !strings.Contains(err.Error(), "the journal is slow") {
				t.Errorf("Ready = %v after %v, want that the journal is slow", err, journalTimeout+time.Second)
			}
			return func() { j.set(nil, nil); close(hold); settle() }
		}
		hang()()
		if err := n.Ready(); err != nil || !j.has(h.record("Solo", "kiwi")) {
			t.Errorf("Ready = %v when the disk answers again, record in the journal: %v", err, j.has(h.record("Solo", "kiwi")))
		}
		h.dial("Solo").ask("IAMAT kiwi +1+1 101")
		hold := make(chan struct{})
		j.set(nil, hold)
		h.dial("Solo").send("IAMAT emu +1+1 100\n")
		settle()
		began := time.Now()
		err := h.servers["Solo"].stop()
		if err == nil || !strings.Contains(err.Error(), "1 record is not in it: the disk does not answer") {
			t.Errorf("Run = %v, want an error with the number of records", err)
		}
		if took := time.Since(began); took > stopTimeout+closeTimeout {
			t.Errorf("the stop took %v, want at most %v", took, stopTimeout+closeTimeout)
		}
		close(hold)
	})
}

// TestJournalLag: JournalAge counts from the arrival of a record, also if it arrived
// during an append.
func TestJournalLag(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newTestHerd(t, "Solo")
		j := &fakeJournal{}
		n := h.start("Solo", 1, withJournal(j)).node
		n.AwaitReady(t.Context())
		first, second := make(chan struct{}), make(chan struct{})
		j.set(nil, first)
		h.dial("Solo").send("IAMAT kiwi +1+1 1\n")
		settle()
		h.dial("Solo").send("IAMAT emu +1+1 1\n") // not in this append
		time.Sleep(3 * time.Second)
		j.set(nil, second)
		close(first)
		settle()
		time.Sleep(time.Second)
		if s := n.Stats(); s.JournalRecords != 1 || s.JournalAge < 3*time.Second {
			t.Errorf("%d records, age %v, want 1 and at least 3 s", s.JournalRecords, s.JournalAge)
		}
		close(second)
		settle()
		if s := n.Stats(); s.JournalRecords != 0 || s.JournalAge != 0 {
			t.Errorf("in the end %d records, age %v, want none", s.JournalRecords, s.JournalAge)
		}
	})
}
