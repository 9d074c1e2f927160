package node

import (
	"sync/atomic"
	"time"
)

// latencyBounds are the upper bounds of the buckets of reply latencies.
var latencyBounds = [...]time.Duration{
	50 * time.Microsecond, 100 * time.Microsecond, 250 * time.Microsecond, 500 * time.Microsecond,
	time.Millisecond, 2500 * time.Microsecond, 5 * time.Millisecond, 10 * time.Millisecond, 25 * time.Millisecond,
	50 * time.Millisecond, 100 * time.Millisecond, 250 * time.Millisecond, 500 * time.Millisecond,
	time.Second, 2500 * time.Millisecond, 5 * time.Second, 10 * time.Second,
}

// command is what a reply answered, as operators see it.
type command uint8

const (
	iAmAt command = iota
	whatsAt
	invalid
	commands // how many there are
)

func (c command) String() string { return [...]string{"iamat", "whatsat", "invalid"}[c] }

// replies counts the replies to each kind of command that one write brought.
type replies [commands]int

// latency is a histogram of the time from when a command was read until its reply
// was written. All replies of one write count with one observation, and with the
// latency of the command that was read first: so it costs a write two additions
// and two readings of the clock, whatever the number of its replies. The histogram of the Prometheus library has no
// way to count many at once.
type latency struct {
	buckets [len(latencyBounds) + 1]atomic.Uint64 // replies, by the first bound that they kept; the last kept none
	sum     atomic.Int64                          // nanoseconds
}

// observe counts n replies that took so long.
func (l *latency) observe(n int, took time.Duration) {
	if n == 0 {
		return
	}
	i := 0
	for i < len(latencyBounds) && took > latencyBounds[i] {
		i++
	}
	l.buckets[i].Add(uint64(n))
	l.sum.Add(int64(took) * int64(n))
}

// replied takes note of a write that brought replies, so long after the first of the
// commands was read.
func (n *Node) replied(r replies, took time.Duration) {
	for to, count := range r {
		n.latencies[to].observe(count, took)
	}
}

// read is the histogram in the form that Prometheus has: the count and sum of all,
// in seconds, and how many kept each bound.
func (l *latency) read() (count uint64, sum float64, within map[float64]uint64) {
	within = make(map[float64]uint64, len(latencyBounds))
	for i := range l.buckets {
		count += l.buckets[i].Load()
		if i < len(latencyBounds) {
			within[latencyBounds[i].Seconds()] = count
		}
	}
	return count, time.Duration(l.sum.Load()).Seconds(), within
}
