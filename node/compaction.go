package node

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"herd/node/replica"
	"herd/node/store"
)

const (
	compactRetry = 2 * time.Second // after a compaction that failed
	// compactNote is the time between two log lines about compactions: a journal of few
	// clients may need several a second.
	compactNote = 10 * time.Second
	// compactFrames frames are written at a time.
	compactFrames = 2
)

// needsCompaction reports whether the journal should be compacted.
func (n *Node) needsCompaction() bool {
	n.mu.Lock()
	size, expired := n.replica.Map().Size(), n.holdsExpired(time.Now())
	n.mu.Unlock()
	return n.journal.journal.NeedsCompaction(size) || expired
}

// compactJournal rewrites the journal whenever it has become much larger than the map, or
// was damaged, until ctx ends. News is appended meanwhile, so that replies do not wait.
func (n *Node) compactJournal(ctx context.Context) {
	// Appends may wait for a compaction that NeedsCompaction has asked for, and it may still do so. None follows after
	// this function, so its last call fails, because ctx has ended: then appends wait for none.
	defer n.journal.journal.Compact(ctx, nil)
	var noted time.Time // when the log last had a line
	failing := false
	for {
		var retry <-chan time.Time
		if n.needsCompaction() {
			began := time.Now()
			var removed uint64
			n.locked(func() { removed = n.replica.Expiry().Removed })
			err := n.journal.journal.Compact(ctx, n.snapshot())
			now := time.Now()
			if err == nil {
				n.locked(func() { n.journal.compacted, n.journal.removed = now, removed })
			}
			switch {
			case err != nil && ctx.Err() != nil: // a stop: compact in the next run
				return
			case err != nil && !failing:
				n.emit([]replica.Event{{Kind: kindJournal, Text: fmt.Sprintf("the journal was not compacted: %v", err)}})
			case err == nil && failing:
				n.emit([]replica.Event{{Kind: kindJournal, Text: "the journal is compacted again", Recovered: true}})
			}
			if failing = err != nil; failing {
				retry = time.After(compactRetry)
			} else {
				level := slog.LevelDebug
				if now.Sub(noted) >= compactNote {
					level, noted = slog.LevelInfo, now
				}
				n.log.Log(ctx, level, "journal compacted", "took", now.Sub(began))
			}
		}
		grown := n.journal.grown
		if retry != nil {
			grown = nil
		}
		select {
		case <-grown:
		case <-retry:
		case <-ctx.Done():
			return
		}
	}
}

// snapshot returns a function that returns the map's lines from call to call, in a few
// frames each: those of all clients that there are at its first call. The frames are valid
// until the next call.
func (n *Node) snapshot() func() [][]byte {
	var buffers [compactFrames][]byte
	var id, end store.ID
	begun := false
	return func() (frames [][]byte) {
		if !begun {
			begun = true
			n.locked(func() { end = n.replica.Map().End() })
		}
		for i := range buffers {
			if id >= end {
				break
			}
			if buffers[i], id = n.mapFrame(buffers[i][:0], id); len(buffers[i]) > 0 {
				frames = append(frames, buffers[i])
			}
		}
		return frames
	}
}

// mapFrame appends to dst about a frame of the map's lines from a client on. next is the
// first client that it leaves out.
func (n *Node) mapFrame(dst []byte, id store.ID) (frame []byte, next store.ID) {
	for len(dst) < frameSize {
		before := id
		n.mu.Lock()
		dst, id = n.replica.Map().AppendLines(dst, id, pieceSize)
		n.mu.Unlock()
		if id == before {
			break
		}
	}
	return dst, id
}
