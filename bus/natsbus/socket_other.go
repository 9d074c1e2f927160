//go:build !linux

package natsbus

// quiet keeps what arrives from waking this process, where the system can do that.
func (s *socket) quiet(on bool) {}

// more tells whether there is more to read at once, where the system does.
func (s *socket) more() bool { return false }
