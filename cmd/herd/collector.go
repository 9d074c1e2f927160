package main

import (
	"os"
	"runtime/debug"
	gometrics "runtime/metrics"
	"time"
)

// Go's garbage collector by itself lets garbage grow as large as what lives. With
// millions of records that is hundreds of megabytes, which neighbours' messages,
// each read once, fill in seconds: memory that the kernel has to clear and that no
// cache has seen. Of records there are few pointers to follow, so collecting more
// often costs less.
const (
	mostGarbage  = 64 << 20
	leastPercent = 5   // of what lives: following its pointers is work too
	usualPercent = 100 // Go's own
	lookEvery    = time.Second
)

// collectOften lets the collector run before there are much more than mostGarbage
// bytes of garbage, until stop is called, unless the environment says how often it is
// to.
func collectOften() (stop func()) {
	if os.Getenv("GOGC") != "" {
		return func() {}
	}
	stopping, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		defer debug.SetGCPercent(usualPercent)
		tick := time.NewTicker(lookEvery)
		defer tick.Stop()
		live := []gometrics.Sample{{Name: "/gc/heap/live:bytes"}}
		for percent := usualPercent; ; {
			select {
			case <-stopping:
				return
			case <-tick.C:
			}
			gometrics.Read(live)
			if p := garbagePercent(live[0].Value.Uint64()); p != percent {
				debug.SetGCPercent(p)
				percent = p
			}
		}
	}()
	return func() {
		close(stopping)
		<-stopped
	}
}

// garbagePercent is the percentage of live bytes, in steps that are worth a change,
// that mostGarbage is.
func garbagePercent(live uint64) int {
	percent := usualPercent
	for percent > leastPercent && uint64(percent)*live > 100*mostGarbage {
		percent = max(percent*4/5, leastPercent)
	}
	return percent
}
