package replica

import (
	"syscall"
	"unsafe"
)

// hugePage is the size that most systems have.
const hugePage = 2 << 20

// adviseHuge asks the kernel for huge pages wherever this memory is touched for the
// first time from now on. Pages that reach over its ends count: what lies there
// belongs to the same heap. Once the memory is free the advice stays, for whatever the
// heap puts there next. A kernel that has no such pages does without.
func adviseHuge(begin unsafe.Pointer, size uintptr) {
	first := uintptr(begin) &^ (hugePage - 1)
	last := (uintptr(begin) + size + hugePage - 1) &^ (hugePage - 1)
	syscall.Syscall(syscall.SYS_MADVISE, first, last-first, syscall.MADV_HUGEPAGE)
}
