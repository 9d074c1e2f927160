package node

import (
	"testing"
	"time"
)

// TestLatency: the histogram as Prometheus reads it.
func TestLatency(t *testing.T) {
	t.Parallel()
	var l latency
	l.observe(0, time.Hour)
	l.observe(3, latencyBounds[0]) // a bound is kept by what equals it
	l.observe(2, latencyBounds[0]+1)
	l.observe(1, time.Minute)
	count, sum, within := l.read()
	if want := 60.00025; count != 6 || sum < want || sum > want+1e-6 {
		t.Errorf("read() = %d, %v, want 6, %v", count, sum, want)
	}
	for i, bound := range latencyBounds {
		want := uint64(5)
		if i == 0 {
			want = 3
		}
		if got := within[bound.Seconds()]; got != want {
			t.Errorf("%d within %v, want %d", got, bound, want)
		}
	}
}

// BenchmarkReplied is what the histogram costs a write, with the reading of the clock.
func BenchmarkReplied(b *testing.B) {
	n := New(Config{Name: "A", Log: discard})
	read := time.Now()
	for b.Loop() {
		n.replied(replies{iAmAt: 1}, time.Since(read))
	}
}
