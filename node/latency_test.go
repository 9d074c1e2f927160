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
	got := l.read()
	if want := 60.00025; got.Count != 6 || got.Sum < want || got.Sum > want+1e-6 {
		t.Errorf("read() = %d, %v, want 6, %v", got.Count, got.Sum, want)
	}
	for i, bound := range latencyBounds {
		want := uint64(5)
		if i == 0 {
			want = 3
		}
		if n := got.Within[bound.Seconds()]; n != want {
			t.Errorf("%d within %v, want %d", n, bound, want)
		}
	}
}

// BenchmarkNoteLatency is the cost of the histogram per write, with reading the clock.
func BenchmarkNoteLatency(b *testing.B) {
	n := New(Config{Name: "A", Log: discard})
	read := time.Now()
	for b.Loop() {
		n.noteLatency(replies{iAmAt: 1}, time.Since(read))
	}
}
