package replica

import (
	"slices"
	"testing"
	"time"

	"herd/node/wire"
)

// TestClockSkew: a neighbour's clock that differs by 2 s is reported. One that differs by
// 30 s is no problem of ours: of two clocks, none is right by majority. Heartbeats that were delayed, or that waited while this process was
// suspended, do not count.
func TestClockSkew(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	r := New(Config{Name: "A", Topology: Topology{Neighbours: []string{"B"}}, Epoch: 1})
	heartbeat := func(skew time.Duration) (reports int) {
		now = now.Add(HeartbeatEvery)
		r.Tick(now)
		events, _ := r.HandleHeartbeat(0, wire.Heartbeat{Epoch: 9, Clock: wire.InstantOf(now.Add(skew)), Format: wire.Format}, now)
		for _, e := range events {
			if e.Kind == Clock {
				reports++
			}
		}
		return reports
	}
	expect := func(when string, skew time.Duration, heartbeats, reports int, problem bool) {
		t.Helper()
		got := 0
		for range heartbeats {
			got += heartbeat(skew)
		}
		if got != reports || (r.ClockProblem() != "") != problem {
			t.Errorf("%s: %d reports, problem %q, want %d, %v", when, got, r.ClockProblem(), reports, problem)
		}
	}
	expect("1 s ahead", time.Second, 5, 0, false)
	expect("two delayed heartbeats", -10*time.Second, 2, 0, false)
	expect("equal", 0, 3, 0, false)
	expect("3 s behind", -3*time.Second, 5, 1, false)
	expect("equal again", 0, 3, 1, false)
	expect("40 s ahead", 40*time.Second, 5, 1, false)
	expect("equal again", 0, 3, 1, false)
	expect("40 s behind", -40*time.Second, 5, 1, false)
	expect("equal again", 0, 3, 1, false)
	now = now.Add(10 * time.Second) // suspended: ten heartbeats have waited, and arrive before our tick
	for i := range 10 {
		sent := now.Add(time.Duration(i-10) * time.Second)
		if events, _ := r.HandleHeartbeat(0, wire.Heartbeat{Epoch: 9, Clock: wire.InstantOf(sent), Format: wire.Format}, now); slices.ContainsFunc(events, func(e Event) bool { return e.Kind == Clock }) {
			t.Errorf("heartbeat %d, which had waited: %v", i, events)
		}
	}
}
