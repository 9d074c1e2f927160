package store

import (
	"testing"
	"unsafe"
)

// TestSlab: the slices of a slab have the requested length and do not overlap, whether
// they are allocated one by one or cut from blocks.
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
				t.Fatalf("byte %d of piece %d is not zero: it overlaps another piece", j, i)
			}
			piece[j] = byte(1 + i)
		}
		all = append(all, piece)
	}
	for i, piece := range all {
		for j, b := range piece {
			if b != byte(1+i) {
				t.Fatalf("byte %d of piece %d is %d, want %d: it overlaps another piece", j, i, b, byte(1+i))
			}
		}
	}
	if len(s.block) == 0 {
		t.Error("no piece was cut from a block")
	}
}

// TestSlabStartsSmall: a slab allocates no block for the first few slices.
func TestSlabStartsSmall(t *testing.T) {
	var s slab[entry]
	for range 10 {
		s.next(pageSize)
	}
	if s.block != nil {
		t.Errorf("a block of %d bytes for ten pages, want none", uintptr(len(s.block))*unsafe.Sizeof(entry{}))
	}
}
