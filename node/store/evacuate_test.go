package store

import (
	"fmt"
	"strings"
	"testing"

	"herd/node/wire"
)

// TestEvacuationKeepsLargeLines: a line that fills a chunk of the size of those for small lines stays
// where it is when these are dropped.
func TestEvacuationKeepsLargeLines(t *testing.T) {
	t.Parallel()
	merge := func(m *Map, client string, length int) (id ID, line string) {
		line = fmt.Sprintf("AT A +0.000000000 %s +1.%%s+1 1700000000", client)
		line = fmt.Sprintf(line, strings.Repeat("0", max(0, length-len(line)+len("%s"))))
		rec, err := wire.ParseRecord([]byte(line))
		if err != nil {
			t.Fatal(err)
		}
		id, outcome := m.Merge(rec)
		if outcome != News {
			t.Fatalf("Merge(%.60q) = %v", line, outcome)
		}
		return id, line
	}
	for _, length := range []int{chunkSize - classSize, chunkSize - classSize + 1, chunkSize, chunkSize + 1} {
		var m Map
		var leave []ID
		for i := range 40_000 {
			id, _ := merge(&m, fmt.Sprintf("client%06d", i), 80)
			leave = append(leave, id)
		}
		large, line := merge(&m, "large", length)
		if len(line) != length {
			t.Fatalf("a line of %d bytes, want %d", len(line), length)
		}
		before := m.Bytes()
		for _, id := range leave[:30_000] {
			m.Remove(id)
		}
		for m.GiveBack(1000) {
		}
		if m.Bytes() > before-2_000_000 {
			t.Errorf("%d bytes after the evacuation, %d before", m.Bytes(), before)
		}
		if got := string(m.Line(large)); got != line {
			t.Errorf("the large line of %d bytes is %.80q", length, got)
		}
	}
}
