package replica

import (
	"syscall"
	"unsafe"
)

// hugePage is the size that most systems have.
const hugePage = 2 << 20

// adviseHuge asks the kernel for huge pages in place of memory that has not been
// written to yet. Pages that reach over its ends count: what lies there belongs to
// the same heap. A kernel that has none does without.
func adviseHuge(begin unsafe.Pointer, size uintptr) {
	first := uintptr(begin) &^ (hugePage - 1)
	last := (uintptr(begin) + size + hugePage - 1) &^ (hugePage - 1)
	syscall.Syscall(syscall.SYS_MADVISE, first, last-first, syscall.MADV_HUGEPAGE)
}
