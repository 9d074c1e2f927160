package wire

import (
	"math"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestClockNeverRepeats(t *testing.T) {
	var c Clock
	readings := []struct{ wall, want Instant }{
		{Instant{10, 0}, Instant{10, 0}},
		{Instant{10, 0}, Instant{10, 1}},
		{Instant{9, 0}, Instant{10, 2}},
		{Instant{10, 2}, Instant{10, 3}},
		{Instant{10, 999_999_999}, Instant{10, 999_999_999}},
		{Instant{10, 999_999_999}, Instant{11, 0}},
		{Instant{12, 5}, Instant{12, 5}},
	}
	for i, r := range readings {
		if got := c.Read(r.wall); got != r.want {
			t.Errorf("reading %d of wall %v = %v, want %v", i, r.wall, got, r.want)
		}
	}
}

func TestInstantArithmetic(t *testing.T) {
	instant := rapid.Custom(func(t *rapid.T) Instant {
		return Instant{rapid.Int64Range(-1e18, 1e18).Draw(t, "sec"), rapid.Int32Range(0, 999_999_999).Draw(t, "nsec")}
	})
	rapid.Check(t, func(t *rapid.T) {
		a, b := instant.Draw(t, "a"), instant.Draw(t, "b")
		d := a.Sub(b)
		if d.Nsec < 0 || d.Nsec > 999_999_999 || b.Add(d) != a {
			t.Fatalf("%v - %v = %+v, added back %v", a, b, d, b.Add(d))
		}
		if (d.Sec < 0) != (a.Compare(b) < 0) || (d == Instant{}) != (a.Compare(b) == 0) {
			t.Fatalf("%v - %v = %+v, but Compare = %d", a, b, d, a.Compare(b))
		}
	})
	now := time.Unix(1700000000, 42)
	if got := InstantOf(now); got != (Instant{1700000000, 42}) {
		t.Errorf("InstantOf = %v", got)
	}
}

func TestDuration(t *testing.T) {
	for _, tt := range []struct {
		in   Instant
		want time.Duration
	}{
		{Instant{}, 0},
		{Instant{1, 5}, time.Second + 5},
		{Instant{-1, 500_000_000}, -time.Second / 2},
		{Instant{999_999_999_999_999_999, 0}, math.MaxInt64},
		{Instant{-999_999_999_999_999_999, 1}, -math.MaxInt64},
		{Instant{9_223_372_036, 999_999_999}, math.MaxInt64}, // the first that would overflow has the same second
		{Instant{-9_223_372_036, 0}, -9_223_372_036 * time.Second},
	} {
		if got := tt.in.Duration(); got != tt.want {
			t.Errorf("%v.Duration() = %v, want %v", tt.in, got, tt.want)
		}
	}
}

// TestPeek: Peek changes nothing, and is not before the last reading.
func TestPeek(t *testing.T) {
	var c Clock
	c.Read(Instant{10, 0})
	if got := c.Peek(Instant{5, 0}); got != (Instant{10, 0}) {
		t.Errorf("Peek at 5 after Read at 10 = %v, want 10", got)
	}
	if got := c.Peek(Instant{20, 0}); got != (Instant{20, 0}) {
		t.Errorf("Peek at 20 after Read at 10 = %v, want 20", got)
	}
	if got := c.Read(Instant{15, 0}); got != (Instant{15, 0}) {
		t.Errorf("Read at 15 after Peek at 20 = %v, want 15", got)
	}
}
