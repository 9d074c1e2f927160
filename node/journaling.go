package node

import (
	"context"
	"errors"
	"fmt"
	"time"

	"herd/bus/batch"
	"herd/node/replica"
	"herd/node/store"
)

const (
	// journalTimeout is how long a reply waits for the journal before its connection is
	// closed without it.
	journalTimeout = 10 * time.Second
	journalRetry   = time.Second // after an append that failed
	compactRetry   = time.Minute // after a compaction that failed, which made the journal larger

	// Up to journalFrames frames of about frameSize bytes are appended at a time. Few
	// large frames are best: with sync, each frame costs a wait for the disk. A frame is
	// made of pieces of about pieceSize: clients wait while the lock is held.
	journalFrames = 8
	compactFrames = 2
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

// journalWriter puts news into the journal. Its goroutine is runJournal.
type journalWriter struct {
	journal Journal
	wake    chan struct{} // wakes runJournal; capacity 1

	// Used by runJournal only:
	batch        batch.Batcher
	frames       [journalFrames][]byte // buffers
	compactAfter time.Time             // no compaction before it
}

func newJournalWriter(j Journal) *journalWriter {
	return &journalWriter{journal: j, wake: make(chan struct{}, 1), batch: batch.New(batch.Policy{
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
		damage = append(damage, fmt.Sprintf("%d of %d lines are malformed", malformed, lines))
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

// runJournal puts news into the journal until ctx ends, and then the rest.
func (n *Node) runJournal(ctx context.Context) error {
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
			return n.closeJournal()
		}
		retry = nil
		if n.appendNews() != nil {
			retry = time.After(journalRetry)
			continue
		}
		n.compactJournal(ctx)
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
	if err != nil {
		clear(j.frames[:]) // the journal may still read them
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
	j.batch.Flushed(records, waiting, now.Sub(began), now)
	switch {
	case err != nil && !failedBefore:
		n.emit([]replica.Event{{Kind: kindJournal, Text: fmt.Sprintf("the journal fails, replies wait: %v", err)}})
	case err == nil && failedBefore:
		n.emit([]replica.Event{{Kind: kindJournal, Text: "the journal works again"}})
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

// compactJournal rewrites the journal when it has become much larger than the map. News
// is appended meanwhile, so that replies do not wait for it.
func (n *Node) compactJournal(ctx context.Context) {
	j := n.journal
	n.mu.Lock()
	size := n.replica.Map().Size()
	n.mu.Unlock()
	began := time.Now()
	if began.Before(j.compactAfter) || !j.journal.NeedsCompaction(size) {
		return
	}
	var next store.ID
	err := j.journal.Compact(func() (frames [][]byte, err error) {
		if err := errors.Join(ctx.Err(), n.appendNews()); err != nil {
			return nil, err
		}
		for len(frames) < compactFrames {
			var frame []byte
			if frame, next = n.mapFrame(next); len(frame) == 0 {
				break
			}
			frames = append(frames, frame)
		}
		return frames, nil
	})
	if ctx.Err() != nil { // a stop: compact in the next run
		return
	}
	if err != nil {
		j.compactAfter = began.Add(compactRetry)
		n.emit([]replica.Event{{Kind: kindJournal, Text: fmt.Sprintf("the journal was not compacted: %v", err)}})
		return
	}
	n.log.Info("journal compacted", "took", time.Since(began))
}

// mapFrame is about a frame of the map's lines from a client on, and the first client
// that it leaves out.
func (n *Node) mapFrame(id store.ID) (frame []byte, next store.ID) {
	for len(frame) < frameSize {
		before := len(frame)
		n.mu.Lock()
		frame, id = n.replica.Map().AppendLines(frame, id, pieceSize)
		n.mu.Unlock()
		if len(frame) == before {
			break
		}
	}
	return frame, id
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
		err = fmt.Errorf("journal: %d records are not in it: %w", n.replica.Unjournalled(), err)
		n.mu.Unlock()
	}
	return errors.Join(err, n.journal.journal.Close())
}
