package node

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"herd/bus"
	"herd/bus/bustest"
)

// fakeJournal is a journal that can be made to fail or to block.
type fakeJournal struct {
	took time.Duration // by an Append; not changed

	mu     sync.Mutex
	lines  []string
	count  int // of Append
	fail   error
	hold   chan struct{} // where not nil, Append waits until it is closed
	closed bool
}

func (j *fakeJournal) Open(take func([]byte)) ([]string, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.closed = false
	for _, line := range j.lines {
		take([]byte(line))
	}
	return nil, nil
}

func (j *fakeJournal) Append(frames [][]byte) error {
	j.mu.Lock()
	hold := j.hold
	j.count++
	j.mu.Unlock()
	time.Sleep(j.took)
	if hold != nil {
		<-hold
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.fail != nil {
		return j.fail
	}
	for _, frame := range frames {
		for line := range strings.Lines(string(frame)) {
			j.lines = append(j.lines, strings.TrimSuffix(line, "\n"))
		}
	}
	return nil
}

func (j *fakeJournal) Bloated(int64) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return len(j.lines) > 100
}

func (j *fakeJournal) Compact(next func() [][]byte) error {
	j.mu.Lock()
	before := len(j.lines)
	j.mu.Unlock()
	for frames := next(); len(frames) > 0; frames = next() {
		if err := j.Append(frames); err != nil {
			return err
		}
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	j.lines = j.lines[before:]
	return nil
}

func (j *fakeJournal) Close() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.closed = true
	return nil
}

func (j *fakeJournal) set(fail error, hold chan struct{}) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.fail, j.hold = fail, hold
}

func (j *fakeJournal) has(line string) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, l := range j.lines {
		if l == strings.TrimSuffix(line, "\n") {
			return true
		}
	}
	return false
}

func journalled(j *fakeJournal) func(*Config) {
	return func(cfg *Config) { cfg.Journal = j }
}

// TestReplyAfterJournal: a reply leaves when the record that won is in the
// journal, also the reply to a report that came while the one before was on its
// way there; neighbours' records are journalled too, and all comes back.
func TestReplyAfterJournal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newTestHerd(t, "A-B")
		j := &fakeJournal{}
		h.start("A", 1, journalled(j)).node.AwaitReady(t.Context())
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
		time.Sleep(journalPatience / 2)
		if len(replies) > 0 {
			t.Fatal("a reply left while the journal took nothing")
		}
		// The first Append is let go alone: what came while it waited is in none yet.
		second := make(chan struct{})
		j.set(nil, second)
		close(hold)
		settle()
		if len(replies) != 1 {
			t.Errorf("%d replies left after the first Append, want the first alone", len(replies))
		}
		close(second)
		<-replies
		<-replies
		j.set(nil, nil)

		theirs := h.dial("B").ask("IAMAT rhea +1+1 100")
		time.Sleep(journalMoment + keptBack)
		if !j.has(theirs) {
			t.Error("a neighbour's record is not in the journal")
		}
		theirs = h.dial("B").ask("IAMAT rhea +1+1 101")
		settle()
		if reply := h.dial("A").ask("IAMAT rhea +1+1 99"); !j.has(theirs) {
			t.Errorf("%q left before the neighbour's record that won was in the journal", reply)
		}
		many := h.dial("B")
		for i := range manyLines {
			theirs = many.ask(fmt.Sprintf("IAMAT emu%d +1+1 100", i))
		}
		time.Sleep(journalMoment + keptBack)
		if j.has(theirs) {
			t.Error("many records of a neighbour did not wait for more")
		}
		time.Sleep(journalKeptBack)
		if !j.has(theirs) {
			t.Error("many records of a neighbour are not in the journal")
		}
		theirs = h.where("B", "rhea")
		if err := h.servers["A"].stop(); err != nil || !j.closed {
			t.Errorf("Run = %v, journal closed %v", err, j.closed)
		}
		h.network.Stop() // so that nobody but the journal can know
		h.start("A", 3, journalled(j))
		if got := h.where("A", "rhea"); got != theirs {
			t.Errorf("after a restart A has %q, want %q", got, theirs)
		}
	})
}

// TestJournalCompany: of clients that report one after the other all share an append
// that takes its time, also if one leaves, and one that is alone waits for nobody.
func TestJournalCompany(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const clients, reports = 8, 12
		journal := &fakeJournal{took: time.Millisecond}
		h := newTestHerd(t, "A")
		h.start("A", 1, journalled(journal))
		settle()
		talk := func(client int, reports int) (longest time.Duration) {
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
				if longest := talk(i, reports-i/4); longest > 3*journal.took {
					t.Errorf("a report waited %v", longest)
				}
			})
		}
		all.Wait()
		if journal.count > reports+4 {
			t.Errorf("%d appends for %d reports of each of %d clients", journal.count, reports, clients)
		}
		if longest := talk(clients, 1); longest > journal.took+keptBack { // for those that are gone
			t.Errorf("the first report of a client that is alone took %v", longest)
		}
		if longest := talk(clients, 3); longest != journal.took {
			t.Errorf("reports of a client that is alone took up to %v, want %v", longest, journal.took)
		}
	})
}

// TestJournalFails: while it does replies wait, the connection ends after its time
// without one, people and /readyz are told; it is tried again, and what was not
// acknowledged is then in it.
func TestJournalFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newTestHerd(t, "A-B")
		var mu sync.Mutex
		var told []string
		h.network.Tap(func(subject string, m bus.Message) {
			if subject == "herd.event.A.journal" {
				mu.Lock()
				defer mu.Unlock()
				told = append(told, string(m.Data))
			}
		})
		j := &fakeJournal{}
		a := h.start("A", 1, journalled(j)).node
		h.start("B", 2, nil).node.AwaitReady(t.Context())
		j.set(errors.New("disk full"), nil)
		began := time.Now()
		c := h.dial("A")
		c.send("IAMAT kiwi +1+1 100\n")
		if rest, err := io.ReadAll(c.r); len(rest) > 0 || err != nil {
			t.Errorf("read %q, %v, want the end without a reply", rest, err)
		}
		if waited := time.Since(began); waited != journalPatience {
			t.Errorf("the connection ended after %v, want %v", waited, journalPatience)
		}
		if err := a.Ready(); err == nil || !strings.Contains(err.Error(), "the journal fails") {
			t.Errorf("Ready = %v while the journal fails", err)
		}
		if got := h.dial("A").ask("nonsense"); got != "? nonsense\n" {
			t.Errorf("what needs no journal was answered %q", got)
		}
		j.set(nil, nil)
		time.Sleep(2 * journalRetry)
		if got := h.where("A", "kiwi"); !j.has(got) {
			t.Errorf("%q is not in the journal, though it works again", got)
		}
		if err := a.Ready(); err != nil {
			t.Errorf("Ready = %v, want nil again", err)
		}
		h.dial("A").ask("IAMAT kiwi +1+1 101")
		mu.Lock()
		defer mu.Unlock()
		if len(told) != 2 || !strings.Contains(told[0], "the journal fails, replies wait: disk full") || !strings.Contains(told[1], "works again") {
			t.Errorf("told %q", told)
		}
	})
}

// TestStopWithFailingJournal: a stop takes no longer than it may, and says what is
// not in the journal.
func TestStopWithFailingJournal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newTestHerd(t, "Solo")
		j := &fakeJournal{}
		h.start("Solo", 1, journalled(j)).node.AwaitReady(t.Context())
		j.set(errors.New("disk full"), nil)
		h.dial("Solo").send("IAMAT kiwi +1+1 100\n")
		settle()
		began := time.Now()
		err := h.servers["Solo"].stop()
		if err == nil || !strings.Contains(err.Error(), "1 records are not in it") {
			t.Errorf("Run = %v, want the count", err)
		}
		if took := time.Since(began); took > grace {
			t.Errorf("the stop took %v, want %v at most", took, grace)
		}
	})
}

// TestLastNews: what is news at the very end is journalled before the journal is
// closed.
func TestLastNews(t *testing.T) {
	j := &fakeJournal{}
	n := New(Config{
		Name: "A", Neighbours: []string{"B"}, Limits: generous, Bus: (&bustest.Network{}).Bus("A", "B"), Places: noPlaces{}, Log: discard, Journal: j,
	})
	if err := n.openJournal(); err != nil {
		t.Fatal(err)
	}
	const record = "AT B +1.000000000 kiwi +1+1 100"
	n.Receive(bus.Message{Lane: bus.Records, Peer: "B", Data: []byte(record)})
	if err := n.closeJournal(); err != nil || !j.has(record) || !j.closed {
		t.Errorf("closeJournal = %v, has it %v, closed %v", err, j.has(record), j.closed)
	}
}

// TestCompaction: a journal that has grown is written anew, and holds the map.
func TestCompaction(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newTestHerd(t, "Solo")
		j := &fakeJournal{}
		h.start("Solo", 1, journalled(j)).node.AwaitReady(t.Context())
		c := h.dial("Solo")
		emu := c.ask("IAMAT emu +1+1 1")
		for i := range 150 {
			c.ask(fmt.Sprintf("IAMAT kiwi +1+1 %d", 100+i))
		}
		settle()
		if len(j.lines) > 101 || !j.has(emu) || !j.has(h.where("Solo", "kiwi")) {
			t.Errorf("the journal has %d lines", len(j.lines))
		}
	})
}
