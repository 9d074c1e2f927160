package wire

import (
	"cmp"
	"strconv"
	"time"
)

const nsecPerSec = 1_000_000_000

// Instant is a point in POSIX time, or the distance between two, as a pair of
// integers: Sec seconds and Nsec nanoseconds, 0 <= Nsec < 1e9. Half a second
// before the epoch is {-1, 500_000_000}. Floats would not do: at today's epoch
// they step by 238 ns.
type Instant struct {
	Sec  int64
	Nsec int32
}

// InstantOf is t as an Instant, to the nanosecond.
func InstantOf(t time.Time) Instant {
	return Instant{t.Unix(), int32(t.Nanosecond())}
}

// Compare is -1, 0 or +1 as a is before, at or after b.
func (a Instant) Compare(b Instant) int {
	if c := cmp.Compare(a.Sec, b.Sec); c != 0 {
		return c
	}
	return cmp.Compare(a.Nsec, b.Nsec)
}

// Add is a + b. Sums of times and differences that the grammar admits cannot
// overflow: both stay below 1e18 seconds.
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

// Seconds is a as a float: for people and metrics, never for decisions.
func (a Instant) Seconds() float64 {
	return float64(a.Sec) + float64(a.Nsec)/nsecPerSec
}

// String is a in seconds with its nine decimals, and a minus sign if negative.
func (a Instant) String() string {
	b := a.appendSigned(nil)
	if b[0] == '+' {
		b = b[1:]
	}
	return string(b)
}

// appendSigned appends a as PROTOCOL.md's difference: its sign always, seconds,
// nine decimals; zero is +0.000000000.
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

// Clock gives a server's readings: the wall clock, but each reading at least a
// nanosecond after the one before, so that no two commands of one server have
// the same receipt, not even when the wall clock is set back. Not for use by
// several goroutines at once.
type Clock struct {
	last Instant
}

// Read turns the wall clock's now into the next reading.
func (c *Clock) Read(now Instant) Instant {
	if now.Compare(c.last) <= 0 {
		now = c.last.Add(Instant{Nsec: 1})
	}
	c.last = now
	return now
}
