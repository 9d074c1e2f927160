//go:build !linux

package replica

import "unsafe"

const hugePage = 2 << 20

func adviseHuge(unsafe.Pointer, uintptr) {}
