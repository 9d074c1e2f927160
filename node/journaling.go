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
	Open(take func(line []byte)) (damage []string, err error)
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
	// journalFrames is how many frames, of about frameSize bytes, are appended at a
	// time.
	journalFrames = 32
	frameSize     = 32 << 10
)

var errNotJournalled = errors.New("the journal does not take the record")

// openJournal reads the journal into the map.
func (n *Node) openJournal() error {
	began := time.Now()
	lines, bad := 0, 0
	damage, err := n.cfg.Journal.Open(func(line []byte) {
		lines++
		if n.replica.Replay(line) != nil { // nobody else has the replica yet
			bad++
		}
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
	failing := false
	for {
		var retry <-chan time.Time
		if failing {
			retry = time.After(journalRetry)
		}
		select {
		case <-n.journal.kick:
		case <-retry:
		case <-ctx.Done():
			return n.closeJournal()
		}
		wanted := n.nextTicket()
		err := n.appendNews()
		switch {
		case err != nil && !failing:
			n.tell([]replica.Event{{Kind: kindJournal, Text: fmt.Sprintf("the journal fails, replies wait: %v", err)}})
		case err == nil && failing:
			n.tell([]replica.Event{{Kind: kindJournal, Text: "the journal works again"}})
		}
		failing = err != nil
		if !failing {
			n.finish(&n.journal, wanted)
			n.compactJournal()
		}
	}
}

// appendNews appends all that is wanted in the journal now.
func (n *Node) appendNews() error {
	n.mu.Lock()
	left := n.replica.Unjournalled()
	n.mu.Unlock()
	for left > 0 {
		var frames [][]byte
		n.mu.Lock()
		for len(frames) < journalFrames && left > 0 {
			frame, lines := n.replica.FillJournal(nil, frameSize)
			if lines == 0 {
				left = 0
				break
			}
			frames = append(frames, frame)
			left = max(0, left-lines)
		}
		n.mu.Unlock()
		err := n.cfg.Journal.Append(frames)
		n.mu.Lock()
		n.replica.Journalled(err == nil)
		n.mu.Unlock()
		if err != nil {
			return err
		}
	}
	return nil
}

// compactJournal writes the journal anew when it has become much larger than the
// map. Replies wait meanwhile.
func (n *Node) compactJournal() {
	n.mu.Lock()
	size := n.replica.Map().Size()
	n.mu.Unlock()
	if !n.cfg.Journal.Bloated(size) {
		return
	}
	began := time.Now()
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
		n.log.Error("journal not compacted", "err", err)
		return
	}
	n.log.Info("journal compacted", "took", time.Since(began))
}

// closeJournal appends what is left and closes the journal.
func (n *Node) closeJournal() error {
	err := n.appendNews()
	if err != nil {
		n.mu.Lock()
		err = fmt.Errorf("journal: %d records are not in it: %w", n.replica.Unjournalled(), err)
		n.mu.Unlock()
	}
	return errors.Join(err, n.cfg.Journal.Close())
}
