//go:build !linux

package natsbus

// setReceiveLowWater makes a read wait until that number of bytes has arrived, on systems
// that can do that.
func (s *socket) setReceiveLowWater(bytes int) {}

// readable reports whether a read would return bytes at once, on systems that tell.
func (s *socket) readable() bool { return false }
