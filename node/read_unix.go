//go:build unix

package node

import (
	"io"
	"os"
	"syscall"
)

const canReadNonblocking = true

// readNonblocking reads once from a socket. wouldBlock says that nothing has arrived.
func (x *exchange) readNonblocking(fd uintptr) (wouldBlock bool, err error) {
	for {
		n, err := syscall.Read(int(fd), x.in[x.end:])
		switch {
		case err == syscall.EINTR:
			continue
		case err == syscall.EAGAIN:
			return true, nil
		case err != nil:
			return false, os.NewSyscallError("read", err)
		case n == 0:
			return false, io.EOF
		}
		x.end += n
		return false, nil
	}
}

// hasError reports whether a connection is broken, which it is after a reset. It does not
// read, so input stays where it is.
func hasError(fd uintptr) bool {
	pending, err := syscall.GetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_ERROR)
	return err != nil || pending != 0
}
