package node

import (
	"bytes"
	"fmt"
	"time"

	"herd/node/replica"
)

// restoreAtOnce is how many bytes of lines are merged under one lock.
const restoreAtOnce = 32 << 10

// restore merges record lines, and replies how many were news, duplicate, stale, refused for want of
// room in the map, and bad: no records. It returns once what was news has been written for the
// neighbours, and is in the journal, if there is one.
func (n *Node) restore(lines []byte) (reply []byte, err error) {
	var all replica.FrameResult
	m := newMerging()
	for len(lines) > 0 {
		part := wholeLines(lines, restoreAtOnce)
		lines = lines[len(part):]
		m.merge(n, func(now time.Time) { all.Add(n.replica.Restore(part, now)) })
		if err := m.wait(n); err != nil {
			return nil, err
		}
	}
	return fmt.Appendf(nil, "news %d duplicate %d stale %d refused %d bad %d", all.News, all.Duplicates, all.Stale, all.Refused, all.Malformed), nil
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
