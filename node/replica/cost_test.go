//go:build !race

// The race detector changes costs.

package replica

import (
	"fmt"
	"runtime"
	"testing"
	"time"

	"herd/node/wire"
)

// TestRecordsAreSmall: the memory that a record takes in all, with a million of them.
func TestRecordsAreSmall(t *testing.T) {
	const records, most = 1_000_000, 180 // bytes; the line has 88
	used := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := used()
	r := New(Config{Name: "A", Topology: Topology{Neighbours: []string{"B", "C", "D"}}, Journal: true})
	var line []byte
	for i := range records {
		line = fmt.Appendf(line[:0], "AT Goloman +0.263873386 client%d.example +34.068930-118.445127 1700000000.959498503", i)
		if in, _ := r.Frame(0, wire.Mark{}, line, time.Time{}); in.News != 1 {
			t.Fatal(in)
		}
	}
	each := (used() - before) / records
	t.Logf("%d bytes per record, with its slots in the queues of three edges and the journal", each)
	if each > most {
		t.Errorf("%d bytes per record, want at most %d", each, most)
	}
	runtime.KeepAlive(r)
}
