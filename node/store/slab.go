package store

import "unsafe"

// slab allocates slices of one length. They are never freed. The first few are
// allocated one by one, so that a small map stays small. Later ones are cut from blocks
// of blockBytes, for which the kernel is asked to use huge pages: lines and entries are
// read at random, and with pages of 4 KB most reads of a large map miss the TLB first
// (node/DESIGN.md, "Techniques", has the figures).
// The zero slab is ready to use.
type slab[T any] struct {
	block []T // the unused rest of the last block
	made  int // number of slices allocated
}

// blockBytes is the approximate size of a block.
const blockBytes = 4 << 20

// next allocates a slice of length elements, which must be the same at each call and
// fit into a block.
func (s *slab[T]) next(length int) []T {
	perBlock := blockBytes / (length * int(unsafe.Sizeof(*new(T))))
	if s.made++; s.made <= perBlock {
		return make([]T, length)
	}
	if len(s.block) == 0 {
		s.block = makeLarge[T](perBlock * length)
	}
	piece := s.block[:length:length]
	s.block = s.block[length:]
	return piece
}

// makeLarge is make for a slice without pointers that is read at random. A slice of a
// huge page or more is advised to be in huge pages.
func makeLarge[T any](length int) []T {
	s := make([]T, length)
	if size := uintptr(length) * unsafe.Sizeof(s[0]); size >= hugePage {
		adviseHuge(unsafe.Pointer(&s[0]), size)
	}
	return s
}
