package store

import (
	"testing"
	"unsafe"
)

// TestSlab: what a slab hands out is of one length, and nobody else's, before and
// after it makes many at once.
func TestSlab(t *testing.T) {
	const length, pieces = 100 << 10, 3 * blockBytes / (100 << 10)
	var s slab[byte]
	var all [][]byte
	for i := range pieces {
		piece := s.next(length)
		if len(piece) != length || cap(piece) != length {
			t.Fatalf("piece %d has length %d and capacity %d, want %d", i, len(piece), cap(piece), length)
		}
		for j := range piece {
			if piece[j] != 0 {
				t.Fatalf("byte %d of piece %d is not zero: somebody has it", j, i)
			}
			piece[j] = byte(1 + i)
		}
		all = append(all, piece)
	}
	for i, piece := range all {
		for j, b := range piece {
			if b != byte(1+i) {
				t.Fatalf("byte %d of piece %d is %d, want %d: another has it too", j, i, b, byte(1+i))
			}
		}
	}
	if len(s.block) == 0 {
		t.Error("no piece came from a block")
	}
}

// TestSmallMapsTakeLittle: a slab that few pieces are wanted of makes no block.
func TestSmallMapsTakeLittle(t *testing.T) {
	var s slab[entry]
	for range 10 {
		s.next(pageSize)
	}
	if s.block != nil {
		t.Errorf("a block of %d bytes for ten pages", uintptr(len(s.block))*unsafe.Sizeof(entry{}))
	}
}
