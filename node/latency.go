package node

import (
	"sync/atomic"
	"time"
)

// latencyBounds are the upper bounds of the buckets.
var latencyBounds = [...]time.Duration{
	50 * time.Microsecond, 100 * time.Microsecond, 250 * time.Microsecond, 500 * time.Microsecond,
	time.Millisecond, 2500 * time.Microsecond, 5 * time.Millisecond, 10 * time.Millisecond, 25 * time.Millisecond,
	50 * time.Millisecond, 100 * time.Millisecond, 250 * time.Millisecond, 500 * time.Millisecond,
	time.Second, 2500 * time.Millisecond, 5 * time.Second, 10 * time.Second,
}

// command is the kind of a command, as operators see it.
type command uint8

const (
	iAmAt command = iota
	whatsAt
	invalid
	commands // number of kinds
)

func (c command) String() string { return [...]string{"iamat", "whatsat", "invalid"}[c] }

// replies counts the replies of one write, by the kind of their command.
type replies [commands]int

// latency is a histogram of the time from reading a command to writing its reply. All
// replies of one write count with the latency of the first command among them, in one
// observation: that costs two additions and two clock readings per write, whatever the
// number of replies. The Prometheus library has no histogram that counts many values at
// once. It is safe for concurrent use.
type latency struct {
	buckets [len(latencyBounds) + 1]atomic.Uint64 // [i]: slower than the bound before, and not than latencyBounds[i]
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

// noteLatency counts the replies of one write.
func (n *Node) noteLatency(r replies, took time.Duration) {
	for to, count := range r {
		n.latencies[to].observe(count, took)
	}
}

// Latency is a histogram in the form that Prometheus has.
type Latency struct {
	Count  uint64
	Sum    float64            // seconds
	Within map[float64]uint64 // replies by upper bound in seconds, cumulative
}

func (l *latency) read() Latency {
	r := Latency{Within: make(map[float64]uint64, len(latencyBounds)), Sum: time.Duration(l.sum.Load()).Seconds()}
	for i := range l.buckets {
		r.Count += l.buckets[i].Load()
		if i < len(latencyBounds) {
			r.Within[latencyBounds[i].Seconds()] = r.Count
		}
	}
	return r
}
