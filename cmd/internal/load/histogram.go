package load

import (
	"math/bits"
	"time"
)

// Histogram counts durations of up to an hour and more, in buckets whose width is at most
// 1/64 of their value. The zero Histogram is empty.
type Histogram struct {
	counts [subBuckets * (1 + octaves)]uint32
	total  uint64
	max    time.Duration
}

const (
	subBits    = 6
	subBuckets = 1 << subBits // in each octave; shorter durations, in nanoseconds, have a bucket each
	octaves    = 36           // above those
)

// Record counts the duration d n times.
func (h *Histogram) Record(d time.Duration, n int) {
	if n == 0 {
		return
	}
	d = max(0, d)
	h.counts[bucket(uint64(d))] += uint32(n)
	h.total += uint64(n)
	h.max = max(h.max, d)
}

// Add adds the counts of other.
func (h *Histogram) Add(other *Histogram) {
	for i, n := range other.counts {
		h.counts[i] += n
	}
	h.total += other.total
	h.max = max(h.max, other.max)
}

// Total is the number of durations counted.
func (h *Histogram) Total() uint64 { return h.total }

// Max is the longest of them, exactly.
func (h *Histogram) Max() time.Duration { return h.max }

// Quantile is the q-quantile of the durations, rounded up to the end of its bucket; 0 for
// an empty Histogram.
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

// Bucket is a range of durations, from From to To, both included.
type Bucket struct {
	From, To time.Duration
	Count    int
}

// Buckets returns the buckets that are not empty, in order.
func (h *Histogram) Buckets() (all []Bucket) {
	for i, n := range h.counts {
		if n > 0 {
			b := Bucket{To: min(h.max, time.Duration(bucketEnd(i))), Count: int(n)}
			if i > 0 {
				b.From = time.Duration(bucketEnd(i-1)) + 1
			}
			all = append(all, b)
		}
	}
	return all
}

// bucket is the index of the bucket that counts v: by its octave, and within that by its
// highest bits.
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
