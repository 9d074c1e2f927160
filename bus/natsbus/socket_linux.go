package natsbus

import "syscall"

// setReceiveLowWater sets SO_RCVLOWAT: a read waits until that number of bytes has arrived,
// so that fewer do not wake this process. An error only costs more wake-ups.
func (s *socket) setReceiveLowWater(bytes int) {
	s.control(func(fd int) { syscall.SetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_RCVLOWAT, bytes) })
}

// readable reports whether a read would return bytes at once.
func (s *socket) readable() (yes bool) {
	s.control(func(fd int) {
		n, _, err := syscall.Recvfrom(fd, make([]byte, 1), syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		yes = n > 0 && err == nil
	})
	return yes
}

// control calls do with the file descriptor, if there is one.
func (s *socket) control(do func(fd int)) {
	if conn, ok := s.Conn.(syscall.Conn); ok {
		if raw, err := conn.SyscallConn(); err == nil {
			raw.Control(func(fd uintptr) { do(int(fd)) })
		}
	}
}
