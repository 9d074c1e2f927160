//go:build !linux

package node

// sendQueue is not known here.
func sendQueue(uintptr) (bytes int, known bool) { return 0, false }

// ackedBytes is not known here.
func ackedBytes(uintptr) (bytes uint64, open bool) { return 0, false }
