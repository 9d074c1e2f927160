package wire

import (
	"cmp"
	"math"
	"strconv"
	"time"
)

const nsecPerSec = 1_000_000_000

// Instant is a point in POSIX time, or the difference between two: Sec seconds plus Nsec
// nanoseconds, with 0 <= Nsec < 1e9. Half a second before the epoch is
// {-1, 500_000_000}. A float64 is not precise enough: today it has steps of 238 ns.
type Instant struct {
	Sec  int64
	Nsec int32
}

// InstantOf converts t.
func InstantOf(t time.Time) Instant {
	return Instant{t.Unix(), int32(t.Nanosecond())}
}

// Compare returns -1 if a is before b, 0 if they are equal, and +1 if a is after b.
func (a Instant) Compare(b Instant) int {
	if c := cmp.Compare(a.Sec, b.Sec); c != 0 {
		return c
	}
	return cmp.Compare(a.Nsec, b.Nsec)
}

// Add is a + b. It cannot overflow for times and differences that the grammar accepts:
// both are less than 1e18 seconds.
func (a Instant) Add(b Instant) Instant {
	s := Instant{a.Sec + b.Sec, a.Nsec + b.Nsec}
	if s.Nsec >= nsecPerSec {
		s.Sec++
		s.Nsec -= nsecPerSec
	}
	return s
}

// Sub is a - b.
func (a Instant) Sub(b Instant) Instant {
	d := Instant{a.Sec - b.Sec, a.Nsec - b.Nsec}
	if d.Nsec < 0 {
		d.Sec--
		d.Nsec += nsecPerSec
	}
	return d
}

// Seconds is a as a float, for people and metrics. It is rounded: do not compare it.
func (a Instant) Seconds() float64 {
	return float64(a.Sec) + float64(a.Nsec)/nsecPerSec
}

// Duration is a as a Duration, or the longest one with its sign: 292 years.
func (a Instant) Duration() time.Duration {
	const most = math.MaxInt64 / nsecPerSec
	switch {
	case a.Sec >= most:
		return math.MaxInt64
	case a.Sec < -most:
		return -math.MaxInt64 // not MinInt64, whose Abs is negative
	}
	return time.Duration(a.Sec)*time.Second + time.Duration(a.Nsec)
}

// String is a in seconds with nine decimals, with a minus sign if it is negative.
func (a Instant) String() string {
	b := a.appendSigned(nil)
	if b[0] == '+' {
		b = b[1:]
	}
	return string(b)
}

// appendSigned appends a as the difference of PROTOCOL.md: always with a sign and nine
// decimals. Zero is +0.000000000.
func (a Instant) appendSigned(dst []byte) []byte {
	sign := byte('+')
	if a.Sec < 0 {
		sign = '-'
		a = Instant{}.Sub(a)
	}
	dst = append(dst, sign)
	dst = strconv.AppendInt(dst, a.Sec, 10)
	dst = append(dst, '.')
	nsec := [9]byte{}
	for i, n := len(nsec)-1, uint32(a.Nsec); i >= 0; i, n = i-1, n/10 {
		nsec[i] = byte('0' + n%10)
	}
	return append(dst, nsec[:]...)
}

// Clock makes a server's receipts unique. Each reading is the wall clock, or one
// nanosecond more than the last reading if that is later. So no two commands at a server
// have the same receipt, even when the wall clock is set back. A Clock is not safe for
// concurrent use.
type Clock struct {
	last Instant
}

// Read is the next reading, when the wall clock shows now.
func (c *Clock) Read(now Instant) Instant {
	if now.Compare(c.last) <= 0 {
		now = c.last.Add(Instant{Nsec: 1})
	}
	c.last = now
	return now
}

// Peek is about the next reading, when the wall clock shows now: not before now, and not
// before the last reading. It changes nothing.
func (c *Clock) Peek(now Instant) Instant {
	if now.Compare(c.last) < 0 {
		return c.last
	}
	return now
}
