//go:build !linux

package load

import "time"

// pause sleeps for d.
func pause(d time.Duration) { time.Sleep(d) }
