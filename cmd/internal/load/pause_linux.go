package load

import (
	"syscall"
	"time"
)

// pause sleeps for d, to some 0.1 ms. time.Sleep is up to 1 ms late in a process
// that has nothing else to do, and the latencies of a quiet server are less.
func pause(d time.Duration) {
	if d <= 0 {
		return
	}
	t := syscall.NsecToTimespec(int64(d))
	syscall.Nanosleep(&t, nil) // woken early by a signal is no harm
}
