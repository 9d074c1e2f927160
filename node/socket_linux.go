package node

import "golang.org/x/sys/unix"

// sendQueue is the number of bytes in a socket's send queue: not sent yet, or not
// acknowledged.
func sendQueue(fd uintptr) (bytes int, known bool) {
	bytes, err := unix.IoctlGetInt(int(fd), unix.SIOCOUTQ)
	return bytes, err == nil
}
