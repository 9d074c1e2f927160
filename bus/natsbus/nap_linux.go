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
	if conn, ok := s.Conn.(syscall.Conn); ok {
		if raw, err := conn.SyscallConn(); err == nil {
			raw.Control(func(fd uintptr) { syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVLOWAT, least) })
		}
	}
}
