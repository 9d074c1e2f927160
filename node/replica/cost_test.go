//go:build !race

// The race detector changes what things cost.

package replica

import (
	"fmt"
	"herd/node/wire"
	"runtime"
	"testing"
	"time"
)

// TestRecordsAreSmall: what a record costs in memory, all told, at a million.
func TestRecordsAreSmall(t *testing.T) {
	const records, most = 1_000_000, 180 // bytes, of which the line is 88
	used := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := used()
	r := New(Config{Name: "A", Neighbours: []string{"B", "C", "D"}, Journal: true})
	var line []byte
	for i := range records {
		line = fmt.Appendf(line[:0], "AT Goloman +0.263873386 client%d.example +34.068930-118.445127 1700000000.959498503", i)
		if in, _ := r.Frame(0, wire.Mark{}, line, time.Time{}); in.News != 1 {
			t.Fatal(in)
		}
	}
	each := (used() - before) / records
	t.Logf("%d bytes a record, with its place in the outboxes of three edges and a journal", each)
	if each > most {
		t.Errorf("%d bytes a record, want %d at most", each, most)
	}
	runtime.KeepAlive(r)
}
