package node

import (
	"bytes"
	"errors"
	"fmt"
	"time"

	"herd/bus"
	"herd/node/replica"
)

// restoreAtOnce is how many bytes of lines are merged under one lock.
const restoreAtOnce = 32 << 10

// restore merges record lines, and replies how many were news, duplicate, stale, refused for want of
// room in the map, and bad: no records. It returns once what was news has been written for the
// neighbours, and is in the journal, if there is one.
func (n *Node) restore(lines []byte) (reply []byte, err error) {
	var all replica.FrameResult
	w := newWaiter()
	for len(lines) > 0 {
		part := wholeLines(lines, restoreAtOnce)
		lines = lines[len(part):]
		flood, journal, advice := n.restorePart(part, &all)
		n.awaitFlood(flood, advice, &w)
		if n.journal == nil {
			continue
		}
		if err := n.awaitJournal(journal, &w); errors.Is(err, errNotJournalled) {
			return nil, fmt.Errorf("%w: the journal does not take the records: they are in the map, and may be lost if all servers stop", bus.ErrUnavailable)
		} else if err != nil {
			return nil, err
		}
	}
	return fmt.Appendf(nil, "news %d duplicate %d stale %d refused %d bad %d", all.News, all.Duplicates, all.Stale, all.Refused, all.Malformed), nil
}

// restorePart merges some lines. It returns what to wait for.
func (n *Node) restorePart(lines []byte, all *replica.FrameResult) (flood, journal uint64, advice flushAdvice) {
	var merged []mergedRecord
	n.locked(func() {
		now := time.Now()
		all.Add(n.replica.Restore(lines, now))
		merged = n.takeMerged()
		n.noteUnsaved(now)
		flood, journal, advice = n.replica.FloodSeq(), n.replica.JournalSeq(), n.adviseFlush(len(n.flushed.waiting)+1, now)
	})
	n.traceMerged(merged, "record restored")
	return flood, journal, advice
}

// wholeLines is the beginning of lines, up to a size, but at least one line.
func wholeLines(lines []byte, size int) []byte {
	if len(lines) <= size {
		return lines
	}
	end := bytes.LastIndexByte(lines[:size], '\n')
	if end < 0 {
		if end = bytes.IndexByte(lines, '\n'); end < 0 {
			return lines
		}
	}
	return lines[:end+1]
}
