package natsbus

import "syscall"

// quiet keeps what arrives from waking this process, until it is undone or there is
// much, so that a nap is one. An error costs no more than wake-ups.
func (s *socket) quiet(on bool) {
	const much = 32 << 10 // bytes
	least := 1
	if on {
		least = much
	}
	s.control(func(fd int) { syscall.SetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_RCVLOWAT, least) })
}

// more tells whether there is more to read at once.
func (s *socket) more() (more bool) {
	s.control(func(fd int) {
		n, _, err := syscall.Recvfrom(fd, make([]byte, 1), syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		more = n > 0 && err == nil
	})
	return more
}

// control calls do with the file descriptor, if there is one.
func (s *socket) control(do func(fd int)) {
	if conn, ok := s.Conn.(syscall.Conn); ok {
		if raw, err := conn.SyscallConn(); err == nil {
			raw.Control(func(fd uintptr) { do(int(fd)) })
		}
	}
}
