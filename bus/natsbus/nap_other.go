//go:build !linux

package natsbus

// quiet keeps what arrives from waking this process, where the system can do that.
func (s *socket) quiet(on bool) {}
