package load

import (
	"math/bits"
	"time"
)

// Histogram counts durations in buckets that are at most 1/64 of their value
// wide, up to more than an hour. Its zero value is empty.
type Histogram struct {
	counts [subBuckets * (1 + octaves)]uint32
	total  uint64
	max    time.Duration
}

const (
	subBits    = 6
	subBuckets = 1 << subBits // in each octave; below that many nanoseconds each has its own
	octaves    = 36           // above them
)

// Record counts d n times.
func (h *Histogram) Record(d time.Duration, n int) {
	if n == 0 {
		return
	}
	d = max(0, d)
	h.counts[bucket(uint64(d))] += uint32(n)
	h.total += uint64(n)
	h.max = max(h.max, d)
}

// Add adds what other has counted.
func (h *Histogram) Add(other *Histogram) {
	for i, n := range other.counts {
		h.counts[i] += n
	}
	h.total += other.total
	h.max = max(h.max, other.max)
}

// Total is how many durations were counted.
func (h *Histogram) Total() uint64 { return h.total }

// Max is the longest of them, exactly.
func (h *Histogram) Max() time.Duration { return h.max }

// Quantile is the least duration that a share q of those counted do not exceed,
// rounded up to its bucket's end; 0 of an empty histogram.
func (h *Histogram) Quantile(q float64) time.Duration {
	if h.total == 0 {
		return 0
	}
	want := max(1, uint64(q*float64(h.total)+0.5))
	var sum uint64
	for i, n := range h.counts {
		if sum += uint64(n); sum >= want {
			return min(h.max, time.Duration(bucketEnd(i)))
		}
	}
	return h.max
}

// bucket is where v is counted: its octave, and within it its highest bits.
func bucket(v uint64) int {
	octave := max(0, bits.Len64(v)-subBits)
	if octave == 0 {
		return int(v)
	}
	shift := octave - 1
	return min(octave*subBuckets+int(v>>shift&(subBuckets-1)), subBuckets*(1+octaves)-1)
}

// bucketEnd is the greatest value of a bucket.
func bucketEnd(i int) uint64 {
	if i < subBuckets {
		return uint64(i)
	}
	shift := i/subBuckets - 1
	return (uint64(subBuckets+i%subBuckets)+1)<<shift - 1
}
