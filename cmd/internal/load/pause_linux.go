package load

import (
	"syscall"
	"time"
)

// pause sleeps for d, precise to about 0.1 ms. time.Sleep may be 1 ms late in an idle
// process, which is longer than the latencies of an idle server.
func pause(d time.Duration) {
	if d <= 0 {
		return
	}
	t := syscall.NsecToTimespec(int64(d))
	syscall.Nanosleep(&t, nil) // a signal may wake it early, which is harmless
}
