package node

import (
	"context"
	"errors"
	"fmt"
	"time"

	"herd/bus/batch"
	"herd/bus/plural"
	"herd/node/replica"
)

const (
	// journalTimeout is how long a reply waits for the journal before its connection is
	// closed without it.
	journalTimeout = 10 * time.Second
	journalRetry   = time.Second // after an append that failed
	// slowJournal is the duration of an append from which the log has a line about it, one
	// in slowNote.
	slowJournal = time.Second
	slowNote    = 10 * time.Second
	// closeTimeout is how long a stop waits for the journal, even if nothing is left of
	// stopTimeout.
	closeTimeout = time.Second

	// Up to journalFrames frames of about frameSize bytes are appended at a time. Few
	// large frames are best: with sync, each frame costs a wait for the disk. A frame is
	// made of pieces of about pieceSize: clients wait while the lock is held.
	journalFrames = 8
	frameSize     = 128 << 10
	pieceSize     = 16 << 10

	// Records from neighbours may linger: the server that received them has them in its
	// own journal before it acknowledges them. Meanwhile newer records of the same clients
	// replace them.
	minLinger     = 5 * time.Millisecond
	maxLinger     = 200 * time.Millisecond
	lingerRecords = 256
	// slowAppend is the duration of an append from which waiters wait for others to join.
	slowAppend = time.Millisecond / 2
)

var errNotJournalled = errors.New("the journal does not accept the record")

// journalWriter puts news into the journal. Its goroutines are writeJournal and
// compactJournal.
type journalWriter struct {
	journal Journal
	wake    chan struct{} // wakes writeJournal; capacity 1
	grown   chan struct{} // wakes compactJournal; capacity 1

	// Used by writeJournal only:
	batch     batch.Batcher
	frames    [journalFrames][]byte // buffers
	slowNoted time.Time             // when the log last had a line about a slow append

	// Of the last compaction; Node.mu guards them. See expiredInJournal. Without any since the start it is not known for how long
	// the journal has had its records.
	compacted time.Time
	removed   uint64 // records that had expired and left the map by then
}

func newJournalWriter(j Journal) *journalWriter {
	return &journalWriter{journal: j, wake: make(chan struct{}, 1), grown: make(chan struct{}, 1), batch: batch.New(batch.Policy{
		MaxDelay: maxBatchDelay, SlowFlush: slowAppend, Full: lingerRecords, MinLinger: minLinger, MaxLinger: maxLinger,
	})}
}

// replayJournal reads the journal into the map.
func (n *Node) replayJournal() error {
	began := time.Now()
	lines, malformed := 0, 0
	damage, err := n.journal.journal.Open(func(frame []byte) {
		n.mu.Lock() // metrics and status are served already
		defer n.mu.Unlock()
		good, bad := n.replica.Replay(frame)
		lines, malformed = lines+good+bad, malformed+bad
	})
	if err != nil {
		return fmt.Errorf("journal: %w", err)
	}
	if malformed > 0 {
		damage = append(damage, fmt.Sprintf("%s %s malformed", plural.Of(malformed, lines, "line"), plural.Form(malformed, "is", "are")))
	}
	for _, d := range damage {
		n.log.Error("journal damaged", "text", d)
	}
	n.locked(func() { n.journalDamage = damage })
	n.log.Info("journal read", "lines", lines, "records", n.records(), "took", time.Since(began))
	return nil
}

// publishDamage publishes what could not be read of the journal. The log has it already.
func (n *Node) publishDamage() {
	n.mu.Lock()
	damage := n.journalDamage
	n.mu.Unlock()
	for _, d := range damage {
		n.publish(replica.Event{Kind: kindJournal, Text: "the journal was damaged when it was opened: " + d})
	}
}

// awaitJournal returns nil when all news up to seq is in the journal.
func (n *Node) awaitJournal(seq uint64, w *waiter) error {
	n.mu.Lock()
	mustWait := n.journalled.mustWait(seq)
	if mustWait {
		n.journalled.add(seq, w)
	}
	n.mu.Unlock()
	if mustWait {
		signal(n.journal.wake)
		if !w.sleep(journalTimeout) {
			n.mu.Lock()
			n.journalled.remove(w)
			n.mu.Unlock()
			<-w.woken
		}
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.journalled.done < seq {
		return errNotJournalled
	}
	return nil
}

// noteUnsaved notes when the oldest record that is not in the journal was queued. The lock
// is held.
func (n *Node) noteUnsaved(now time.Time) {
	if n.unsavedSince.IsZero() && n.replica.Unjournalled() > 0 {
		n.unsavedSince = now
	}
}

// runJournal runs writeJournal. Once ctx has ended, it waits for that until the end of
// stopTimeout, and closeTimeout at least: so a disk that does not answer cannot hold up a stop.
func (n *Node) runJournal(ctx context.Context) error {
	closed := make(chan error, 1)
	go func() { closed <- n.writeJournal(ctx) }()
	select {
	case err := <-closed:
		return err
	case <-ctx.Done():
	}
	n.mu.Lock()
	left := max(closeTimeout, time.Until(n.stopBy))
	n.mu.Unlock()
	timer := time.NewTimer(left)
	defer timer.Stop()
	select {
	case err := <-closed:
		return err
	case <-timer.C:
		n.mu.Lock()
		defer n.mu.Unlock()
		return unsavedError(n.replica.Unjournalled(), errors.New("the disk does not answer"))
	}
}

// writeJournal puts news into the journal until ctx ends, and then the rest.
func (n *Node) writeJournal(ctx context.Context) error {
	compacted := make(chan struct{})
	go func() {
		defer close(compacted)
		n.compactJournal(ctx)
	}()
	var retry <-chan time.Time // while the journal fails
	for {
		select {
		case <-n.journal.wake:
			if retry != nil {
				continue
			}
			n.awaitBatch(ctx)
		case <-retry:
		case <-ctx.Done():
			<-compacted
			return n.closeJournal()
		}
		retry = nil
		if n.appendNews() != nil {
			retry = time.After(journalRetry)
			continue
		}
		if n.needsCompaction() {
			signal(n.journal.grown)
		}
	}
}

// awaitBatch waits while it pays to let more records gather.
func (n *Node) awaitBatch(ctx context.Context) {
	j := n.journal
	for began := time.Now(); ; {
		now := time.Now()
		n.mu.Lock()
		q := batch.Queue{Items: n.replica.Unjournalled(), Waiters: len(n.journalled.waiting), Age: now.Sub(began)}
		delay := j.batch.Delay(q, now)
		n.lingering = delay > 0 && q.Waiters == 0
		n.mu.Unlock()
		if delay <= 0 || ctx.Err() != nil {
			return
		}
		wait(ctx, j.wake, delay)
	}
}

// appendNews appends everything that is not in the journal now, and wakes those who wait
// for it.
func (n *Node) appendNews() error {
	j := n.journal
	began := time.Now()
	n.mu.Lock()
	seq, records := n.replica.JournalSeq(), n.replica.Unjournalled()
	n.mu.Unlock()
	var err error
	for left := records; left > 0 && err == nil; {
		filled := 0
		for filled < journalFrames && left > 0 {
			frame, lines := n.journalFrame(j.frames[filled][:0], left)
			if lines == 0 {
				left = 0
				break
			}
			j.frames[filled] = frame
			filled++
			left -= lines
		}
		err = j.journal.Append(j.frames[:filled])
		n.mu.Lock()
		n.replica.JournalDone(err == nil)
		n.mu.Unlock()
	}
	n.mu.Lock()
	failedBefore, waiting := n.journalFailed, 0
	n.journalFailed = err != nil
	if err == nil {
		waiting = len(n.journalled.waiting)
		n.journalled.advance(seq)
		n.unsavedSince = time.Time{}
		if n.replica.Unjournalled() > 0 { // they arrived since we began
			n.unsavedSince = began
		}
	}
	n.mu.Unlock()
	now := time.Now()
	took := now.Sub(began)
	j.batch.Flushed(records, waiting, took, now)
	if took >= slowJournal && now.Sub(j.slowNoted) >= slowNote {
		j.slowNoted = now
		n.log.Warn("journal slow, replies wait", "took", took)
	}
	switch {
	case err != nil && !failedBefore:
		n.emit([]replica.Event{{Kind: kindJournal, Text: fmt.Sprintf("the journal fails, replies wait: %v", err)}})
	case err == nil && failedBefore:
		n.emit([]replica.Event{{Kind: kindJournal, Text: "the journal works again", Recovered: true}})
	}
	return err
}

// journalFrame appends to dst the next records for the journal: about a frame, or most
// lines.
func (n *Node) journalFrame(dst []byte, most int) (frame []byte, lines int) {
	for len(dst) < frameSize && lines < most {
		var more int
		n.mu.Lock()
		dst, more = n.replica.NextJournalLines(dst, pieceSize)
		n.mu.Unlock()
		if more == 0 {
			break
		}
		lines += more
	}
	return dst, lines
}

// closeJournal appends what is left and closes the journal.
func (n *Node) closeJournal() error {
	n.mu.Lock()
	failed := n.journalFailed
	n.mu.Unlock()
	err := errNotJournalled
	if !failed { // else it was retried already
		err = n.appendNews()
	}
	if err != nil {
		n.mu.Lock()
		err = unsavedError(n.replica.Unjournalled(), err)
		n.mu.Unlock()
	}
	return errors.Join(err, n.journal.journal.Close())
}

// unsavedError is the error of a stop with records that are not in the journal.
func unsavedError(records int, err error) error {
	return fmt.Errorf("journal: %s %s not in it: %w", plural.Count(records, "record"), plural.Form(records, "is", "are"), err)
}
