package node

import (
	"fmt"
	"testing"

	"herd/node/journal"
	"herd/node/replica"
)

// BenchmarkOpenJournal is the cost of reading a journal of a million records at a start:
// without merging them, and with.
func BenchmarkOpenJournal(b *testing.B) {
	const records, perFrame = 1_000_000, 64
	dir := b.TempDir()
	written := journal.New(journal.Config{Dir: dir, Log: discard})
	if _, err := written.Open(nil); err != nil {
		b.Fatal(err)
	}
	for i := 0; i < records; {
		var frames [][]byte
		for len(frames) < journalFrames && i < records {
			var frame []byte
			for range perFrame {
				frame = fmt.Appendf(frame, "AT Goloman +0.263873386 client%d.example +34.068930-118.445127 1700000000.%09d\n", i, i)
				i++
			}
			frames = append(frames, frame)
		}
		if err := written.Append(frames); err != nil {
			b.Fatal(err)
		}
	}
	if err := written.Close(); err != nil {
		b.Fatal(err)
	}
	run := func(b *testing.B, replay func(*replica.Replica) func([]byte)) {
		for range b.N {
			j := journal.New(journal.Config{Dir: dir, Log: discard})
			if _, err := j.Open(replay(replica.New(replica.Config{Name: "Goloman"}))); err != nil {
				b.Fatal(err)
			}
			b.StopTimer()
			if err := j.Close(); err != nil {
				b.Fatal(err)
			}
			b.StartTimer()
		}
	}
	b.Run("read", func(b *testing.B) {
		run(b, func(*replica.Replica) func([]byte) { return func([]byte) {} })
	})
	b.Run("merge", func(b *testing.B) {
		run(b, func(r *replica.Replica) func([]byte) {
			return func(frame []byte) {
				if _, malformed := r.Replay(frame); malformed > 0 {
					b.Fatal(malformed, "malformed lines")
				}
			}
		})
	})
}
