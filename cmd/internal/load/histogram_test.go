package load

import (
	"testing"
	"time"
)

func TestHistogram(t *testing.T) {
	var h, other Histogram
	if h.Quantile(.5) != 0 {
		t.Errorf("empty: %v", h.Quantile(.5))
	}
	for i := 1; i <= 10_000; i++ {
		one := &h
		if i%2 == 0 {
			one = &other
		}
		one.Record(time.Duration(i)*time.Microsecond, 1)
	}
	h.Add(&other)
	for q, want := range map[float64]time.Duration{0: time.Microsecond, .5: 5 * time.Millisecond, .99: 9900 * time.Microsecond, 1: 10 * time.Millisecond} {
		if got := h.Quantile(q); got < want || got > want+want/64 {
			t.Errorf("Quantile(%v) = %v, want %v", q, got, want)
		}
	}
	for v := uint64(1); v < 1<<62; v = v*3/2 + 1 {
		i := bucket(v)
		if i < len(h.counts)-1 && (bucketEnd(i) < v || bucketEnd(i-1) >= v) {
			t.Errorf("%d is in the bucket from %d to %d", v, bucketEnd(i-1), bucketEnd(i))
		}
	}
}
