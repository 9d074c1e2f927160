//go:build unix

package node

import "syscall"

// wasReset tells whether the peer has reset a connection.
func wasReset(fd uintptr) bool {
	pending, err := syscall.GetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_ERROR)
	return err != nil || pending != 0
}
