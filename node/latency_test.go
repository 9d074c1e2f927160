package node

import (
	"testing"
	"time"
)

// TestLatency: read gives the histogram in the form of Prometheus.
func TestLatency(t *testing.T) {
	t.Parallel()
	var l latency
	l.observe(0, time.Hour)
	l.observe(3, latencyBounds[0]) // bounds are inclusive
	l.observe(2, latencyBounds[0]+1)
	l.observe(1, time.Minute)
	got := l.read()
	if want := 60.00025; got.Count != 6 || got.Sum < want || got.Sum > want+1e-6 {
		t.Errorf("read: count %d, sum %v, want 6, %v", got.Count, got.Sum, want)
	}
	for i, bound := range latencyBounds {
		want := uint64(5)
		if i == 0 {
			want = 3
		}
		if n := got.Within[bound.Seconds()]; n != want {
			t.Errorf("%d replies within %v, want %d", n, bound, want)
		}
	}
}

// BenchmarkNoteLatency is the cost of the histogram per write, including a clock reading.
func BenchmarkNoteLatency(b *testing.B) {
	n := New(Config{Name: "A", Log: discard})
	read := time.Now()
	for b.Loop() {
		n.noteLatency(replies{iAmAt: 1}, time.Since(read))
	}
}
