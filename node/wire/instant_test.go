package wire

import (
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
