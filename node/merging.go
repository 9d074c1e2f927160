package node

import (
	"errors"
	"fmt"
	"time"

	"herd/bus"
)

// merging is what an operator's request has merged, and what it must wait for.
type merging struct {
	flood, journal uint64
	advice         flushAdvice
	waiter         waiter
}

func newMerging() *merging { return &merging{waiter: newWaiter()} }

// merge calls do, which merges records, with the lock held.
func (m *merging) merge(n *Node, do func(now time.Time)) {
	var merged []mergedRecord
	n.locked(func() {
		now := time.Now()
		do(now)
		merged = n.takeMerged()
		n.startForwardTimer()
		n.noteUnsaved(now)
		m.flood, m.journal, m.advice = n.replica.FloodSeq(), n.replica.JournalSeq(), n.adviseFlush(len(n.flushed.waiting)+1, now)
	})
	n.traceMerged(merged, "record from operator")
}

// wait returns when what was merged has been written for the neighbours, and is in the journal, if there is
// one.
func (m *merging) wait(n *Node) error {
	n.awaitFlood(m.flood, m.advice, &m.waiter)
	if n.journal == nil {
		return nil
	}
	err := n.awaitJournal(m.journal, &m.waiter)
	if errors.Is(err, errNotJournalled) {
		return fmt.Errorf("%w: the journal does not take the records: they are in the map, and may be lost if all servers stop", bus.ErrUnavailable)
	}
	return err
}
