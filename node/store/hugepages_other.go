//go:build !linux

package store

import "unsafe"

const hugePage = 2 << 20

func adviseHuge(unsafe.Pointer, uintptr) {}
