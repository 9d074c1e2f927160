package replica

import "unsafe"

// slab hands out slices of one length, which nobody gives back. Once many have been
// wanted it makes many at a time, in huge pages where the system has them: lines and
// entries are read from all over a large map, and with pages of 4 KB most reads of
// memory would begin with another of where it is. The zero slab is ready.
type slab[T any] struct {
	block []T // what is left of the last one
	made  int // how many slices were handed out
}

// blockBytes is about how much a slab makes at a time.
const blockBytes = 4 << 20

// next is a slice of so many elements, the same at each call and no more than a block.
func (s *slab[T]) next(length int) []T {
	inBlock := blockBytes / (length * int(unsafe.Sizeof(*new(T))))
	if s.made++; s.made <= inBlock { // a small map is not to take much
		return make([]T, length)
	}
	if len(s.block) == 0 {
		s.block = makeLarge[T](inBlock * length)
	}
	piece := s.block[:length:length]
	s.block = s.block[length:]
	return piece
}

// makeLarge is make of a slice without pointers that is read from all over.
func makeLarge[T any](length int) []T {
	s := make([]T, length)
	if size := uintptr(length) * unsafe.Sizeof(s[0]); size >= hugePage {
		adviseHuge(unsafe.Pointer(&s[0]), size)
	}
	return s
}
