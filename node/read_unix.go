//go:build unix

package node

import (
	"io"
	"os"
	"syscall"
)

// newReader returns what reads once from the connection into the workspace, behind
// what is in it. Where the connection is a socket, the workspace is laid down while
// nothing is there to read.
func (s *session) newReader() func() error {
	socket, ok := s.conn.(syscall.Conn)
	if !ok { // TLS, or a test's
		return s.readBuffered
	}
	raw, err := socket.SyscallConn()
	if err != nil {
		return s.readBuffered
	}
	var outcome error
	s.rests = true
	readNow := func(fd uintptr) (done bool) {
		s.takeUp()
		for {
			n, err := syscall.Read(int(fd), s.in[s.end:])
			switch {
			case err == syscall.EINTR:
				continue
			case err == syscall.EAGAIN:
				s.layDown()
				return false
			case err != nil:
				outcome = os.NewSyscallError("read", err)
			case n == 0:
				outcome = io.EOF
			default:
				s.end += n
			}
			return true
		}
	}
	return func() error {
		outcome = nil
		if err := raw.Read(readNow); err != nil {
			return err
		}
		return outcome
	}
}
