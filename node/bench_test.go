package node

import (
	"fmt"
	"testing"

	"herd/node/journal"
	"herd/node/replica"
)

// BenchmarkOpenJournal is what a restart costs before a server greets its
// neighbours: a million records read back, and read back into a map.
func BenchmarkOpenJournal(b *testing.B) {
	const records, perFrame = 1_000_000, 64
	dir := b.TempDir()
	fill := journal.New(journal.Config{Dir: dir, Log: discard})
	if _, err := fill.Open(nil); err != nil {
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
		if err := fill.Append(frames); err != nil {
			b.Fatal(err)
		}
	}
	if err := fill.Close(); err != nil {
		b.Fatal(err)
	}
	run := func(b *testing.B, take func(*replica.Replica) func([]byte)) {
		for range b.N {
			j := journal.New(journal.Config{Dir: dir, Log: discard})
			if _, err := j.Open(take(replica.New(replica.Config{Name: "Goloman"}))); err != nil {
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
				if _, bad := r.Replay(frame); bad > 0 {
					b.Fatal(bad, "lines are no records")
				}
			}
		})
	})
}
