package node

import (
	"context"
	"errors"
	"fmt"
	"time"

	"herd/node/replica"
)

// Journal is what a server needs of a journal; journal.Journal says what each
// method promises.
type Journal interface {
	Open(take func(frame []byte)) (damage []string, err error)
	Append(frames [][]byte) error
	Bloated(mapSize int64) bool
	Compact(next func() [][]byte) error
	Close() error
}

const (
	// journalPatience is how long a reply waits for the journal before its
	// connection ends without it, and journalRetry how often a journal that failed
	// is tried again.
	journalPatience = 10 * time.Second
	journalRetry    = time.Second
	compactRetry    = time.Minute // after a compaction that failed, which has made the journal larger
	// journalFrames is how many frames, of about frameSize bytes, are appended at a
	// time: few and large ones, for the disk is waited for once for each. They are made
	// of pieces, for clients wait while one is made.
	journalFrames = 8
	frameSize     = 128 << 10
	pieceSize     = 16 << 10
	// News waits for more where no client waits for it: what neighbours bring is in the
	// journal of the server that got it before they acknowledge it, so ours may take it
	// in large pieces, in which of a client only the newest is. journalMoment is how long
	// at least, and journalKeptBack at most, while there is more than manyLines.
	journalMoment   = 5 * time.Millisecond
	journalKeptBack = 200 * time.Millisecond
	manyLines       = 256
	// slowAppend is what an append takes that is worth waiting for company. A timer may
	// be late by as much.
	slowAppend = time.Millisecond / 2
)

var errNotJournalled = errors.New("the journal does not take the record")

// openJournal reads the journal into the map.
func (n *Node) openJournal() error {
	began := time.Now()
	lines, bad := 0, 0
	damage, err := n.cfg.Journal.Open(func(frame []byte) {
		good, junk := n.replica.Replay(frame) // nobody else has the replica yet
		lines, bad = lines+good+junk, bad+junk
	})
	if err != nil {
		return fmt.Errorf("journal: %w", err)
	}
	if bad > 0 {
		damage = append(damage, fmt.Sprintf("%d of %d lines are no records", bad, lines))
	}
	for _, d := range damage {
		n.log.Error("journal damaged", "text", d)
	}
	n.damage = damage
	n.log.Info("journal read", "lines", lines, "records", n.replica.Map().Len(), "took", time.Since(began))
	return nil
}

// runJournal puts news into the journal, all that has gathered since the last time
// at once, until ctx ends; then the rest of it.
func (n *Node) runJournal(ctx context.Context) error {
	var retry <-chan time.Time // while the journal fails
	var took time.Duration     // the last time
	for {
		select {
		case <-n.journal.kick:
			if retry != nil {
				continue // in its time
			}
			n.keepFromJournal(ctx)
			n.awaitCompany(ctx, took)
		case <-retry:
		case <-ctx.Done():
			return n.closeJournal()
		}
		n.mu.Lock()
		wanted := ticket(n.replica.News())
		if n.behindSince.IsZero() {
			n.behindSince = time.Now()
		}
		n.mu.Unlock()
		began := time.Now()
		err := n.appendNews()
		took = time.Since(began)
		n.mu.Lock()
		failed := n.journal.failed
		n.journal.failed = err != nil
		n.mu.Unlock()
		retry = nil
		switch {
		case err != nil && !failed:
			n.tell([]replica.Event{{Kind: kindJournal, Text: fmt.Sprintf("the journal fails, replies wait: %v", err)}})
		case err == nil && failed:
			n.tell([]replica.Event{{Kind: kindJournal, Text: "the journal works again"}})
		}
		if err != nil {
			retry = time.After(journalRetry)
			continue
		}
		n.mu.Lock()
		n.journal.finish(wanted)
		n.mu.Unlock()
		n.compactJournal()
		n.mu.Lock()
		n.behindSince = time.Time{}
		n.mu.Unlock()
	}
}

// keepFromJournal lets news wait for more, until somebody waits for it or ctx ends.
func (n *Node) keepFromJournal(ctx context.Context) {
	keep := func(least int, d time.Duration) bool {
		n.mu.Lock()
		if n.behindSince.IsZero() {
			n.behindSince = time.Now()
		}
		n.journal.keeping = len(n.journal.waiting) == 0 && n.replica.Unjournalled() >= least
		keeping := n.journal.keeping
		n.mu.Unlock()
		return keeping && !wait(ctx, n.journal.kick, d) // who waits kicks
	}
	if keep(0, journalMoment) {
		keep(manyLines, journalKeptBack-journalMoment)
	}
	n.mu.Lock()
	n.journal.keeping = false
	n.mu.Unlock()
}

// awaitCompany lets those who wait for the journal wait for others that did when it
// last let some go, and are about to again, if the disk is slow enough to make that
// worth while: it takes as long for all as for one.
func (n *Node) awaitCompany(ctx context.Context, took time.Duration) {
	if took < slowAppend {
		return
	}
	timeout := time.After(min(took/2, keptBack))
	for {
		n.mu.Lock()
		waiting := len(n.journal.waiting)
		enough := waiting == 0 || waiting >= n.journal.company
		n.mu.Unlock()
		if enough {
			return
		}
		select {
		case <-n.journal.kick: // who waits kicks
		case <-timeout:
			return
		case <-ctx.Done():
			return
		}
	}
}

// journalLag is how many records are not yet in the journal, and how long the oldest
// of them has waited. The lock is held.
func (n *Node) journalLag(now time.Time) (records int, oldest time.Duration) {
	records = n.replica.Unjournalled()
	if records > 0 && !n.behindSince.IsZero() {
		oldest = now.Sub(n.behindSince)
	}
	return records, oldest
}

// appendNews appends all that is wanted in the journal now.
func (n *Node) appendNews() error {
	n.mu.Lock()
	left := n.replica.Unjournalled()
	n.mu.Unlock()
	for left > 0 {
		filled := 0
		for filled < journalFrames && left > 0 {
			frame, lines := n.journalFrame(n.journalRoom[filled][:0], left)
			if lines == 0 {
				left = 0
				break
			}
			n.journalRoom[filled] = frame
			filled++
			left = max(0, left-lines)
		}
		err := n.cfg.Journal.Append(n.journalRoom[:filled])
		n.mu.Lock()
		n.replica.Journalled(err == nil)
		n.mu.Unlock()
		if err != nil {
			clear(n.journalRoom[:]) // somebody may yet read it
			return err
		}
	}
	return nil
}

// journalFrame appends to dst what is wanted in the journal, about a frame or so many
// lines, and returns how many they are.
func (n *Node) journalFrame(dst []byte, most int) (frame []byte, lines int) {
	for len(dst) < frameSize && lines < most {
		var more int
		n.mu.Lock()
		dst, more = n.replica.FillJournal(dst, pieceSize)
		n.mu.Unlock()
		if more == 0 {
			break
		}
		lines += more
	}
	return dst, lines
}

// compactJournal writes the journal anew when it has become much larger than the
// map. Replies wait meanwhile.
func (n *Node) compactJournal() {
	n.mu.Lock()
	size := n.replica.Map().Size()
	n.mu.Unlock()
	began := time.Now()
	if began.Before(n.compactNext) || !n.cfg.Journal.Bloated(size) {
		return
	}
	var next replica.ID
	err := n.cfg.Journal.Compact(func() (frames [][]byte) {
		n.mu.Lock()
		defer n.mu.Unlock()
		for len(frames) < journalFrames && int(next) < n.replica.Map().Len() {
			var frame []byte
			frame, next = n.replica.Map().AppendLines(nil, next, frameSize)
			frames = append(frames, frame)
		}
		return frames
	})
	if err != nil {
		n.compactNext = began.Add(compactRetry)
		n.tell([]replica.Event{{Kind: kindJournal, Text: fmt.Sprintf("the journal was not compacted: %v", err)}})
		return
	}
	n.log.Info("journal compacted", "took", time.Since(began))
}

// closeJournal appends what is left and closes the journal.
func (n *Node) closeJournal() error {
	n.mu.Lock()
	failed := n.journal.failed
	n.mu.Unlock()
	err := errNotJournalled
	if !failed { // else it has had its time
		err = n.appendNews()
	}
	if err != nil {
		n.mu.Lock()
		err = fmt.Errorf("journal: %d records are not in it: %w", n.replica.Unjournalled(), err)
		n.mu.Unlock()
	}
	return errors.Join(err, n.cfg.Journal.Close())
}
