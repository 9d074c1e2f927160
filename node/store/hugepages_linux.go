package store

import (
	"syscall"
	"unsafe"
)

// hugePage is the size of a huge page on most machines.
const hugePage = 2 << 20

// adviseHuge asks the kernel to back this memory by huge pages when it is first
// touched. The range is widened to whole huge pages, so it may include neighbouring
// memory of the same heap. The advice outlives the slice: it stays for whatever the heap
// later stores there. On a kernel without huge pages it has no effect.
func adviseHuge(begin unsafe.Pointer, size uintptr) {
	first := uintptr(begin) &^ (hugePage - 1)
	last := (uintptr(begin) + size + hugePage - 1) &^ (hugePage - 1)
	syscall.Syscall(syscall.SYS_MADVISE, first, last-first, syscall.MADV_HUGEPAGE)
}
