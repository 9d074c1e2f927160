package replica

import (
	"math"
	"slices"
	"strings"
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

// TestClockVote: a server is unready if its clock agrees with less than half of the
// clocks of itself and its neighbours. At exactly half a neighbour that differs decides, if
// most of its other neighbours agree with it.
func TestClockVote(t *testing.T) {
	const off = 45 * time.Second
	agree := wire.Clocks{Agree: 2, Known: 3}
	for _, tt := range []struct {
		name   string
		skews  []time.Duration // of the neighbours' clocks
		theirs wire.Clocks     // of those that differ
		off    bool
	}{
		{"alone", nil, wire.Clocks{}, false},
		{"all agree", []time.Duration{0, 29 * time.Second}, wire.Clocks{}, false},
		{"one of three differs", []time.Duration{0, 0, off}, agree, false},
		{"one of two differs", []time.Duration{0, off}, agree, false},
		{"two of two differ", []time.Duration{off, -off}, wire.Clocks{}, true},
		{"two of three differ, which have no majority", []time.Duration{0, off, off}, wire.Clocks{Agree: 1, Known: 2}, false},
		{"two of three differ, which have a majority", []time.Duration{0, off, off}, agree, true},
		{"the only one differs and does not say", []time.Duration{off}, wire.Clocks{}, false},
		{"the only one differs and has nobody else", []time.Duration{off}, wire.Clocks{Agree: 0, Known: 0}, false},
		{"the only one differs and has half", []time.Duration{off}, wire.Clocks{Agree: 1, Known: 2}, false},
		{"the only one differs and has a majority", []time.Duration{off}, wire.Clocks{Agree: 1, Known: 1}, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var names []string
			for i := range tt.skews {
				names = append(names, string(rune('B'+i)))
			}
			r := New(Config{Name: "A", Topology: topologyOf(0, names...), Epoch: 1})
			start := time.Unix(1_700_000_000, 0)
			var events []Event
			for beat := range 5 {
				now := start.Add(time.Duration(beat) * HeartbeatEvery)
				for e, skew := range tt.skews {
					b := wire.Heartbeat{Epoch: 9, Clock: wire.InstantOf(now.Add(skew)), Format: wire.Format}
					if skew.Abs() > clockUnready {
						b.Clocks = tt.theirs
					}
					more, _ := r.HandleHeartbeat(e, b, now)
					events = append(events, more...)
				}
				events = append(events, r.Tick(now)...)
			}
			problem := r.ClockProblem()
			if (problem != "") != tt.off || tt.off && !strings.Contains(problem, "this server's clock (A) is off") {
				t.Errorf("problem %q, want that ours is off: %v", problem, tt.off)
			}
			said := map[bool]int{} // by whether it is about our own clock
			for _, e := range events {
				if e.Kind == Clock {
					said[e.Peer == ""]++
				}
			}
			differing := 0
			for e, skew := range tt.skews {
				if skew.Abs() > clockWarn {
					differing++
				} else if got := r.Heartbeat(e, start).Clocks; got.Known != len(tt.skews)-1 {
					t.Errorf("the heartbeat to %s counts %d clocks, want those of the others", names[e], got.Known)
				}
			}
			if said[false] != differing || (said[true] == 1) != tt.off {
				t.Errorf("%d events about neighbours, %d about our clock, want %d and one if it is off", said[false], said[true], differing)
			}
		})
	}
}

// TestClockVerdict: the event about a neighbour whose clock does not agree names the one
// that is off, where a majority tells. An absurd clock has a readable offset.
func TestClockVerdict(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	r := New(Config{Name: "A", Topology: topologyOf(0, "B", "C", "D"), Epoch: 1})
	var text string
	for range clockSamples {
		now = now.Add(HeartbeatEvery)
		for e, clock := range []wire.Instant{wire.InstantOf(now), wire.InstantOf(now), {Sec: 999_999_999_999_999_999}} {
			events, _ := r.HandleHeartbeat(e, wire.Heartbeat{Epoch: 9, Clock: clock, Format: wire.Format}, now)
			for _, event := range events {
				if event.Kind == Clock {
					text = event.Text
				}
			}
		}
	}
	const want = "the clock of D differs from ours by more than 100 years: it is off, ours agrees with 2 of 3 neighbours"
	if text != want {
		t.Errorf("event %q, want %q", text, want)
	}
	if skew := r.Edge(2, now).Skew; skew != math.MaxInt64 {
		t.Errorf("skew %v, want the longest duration", skew)
	}
}

// TestClockSetBack: after the clock jumped forward and back, receipts stay ahead.
// Heartbeats carry them, it is reported, and beyond 30 s the server is unready, until the
// clock has caught up.
func TestClockSetBack(t *testing.T) {
	for _, tt := range []struct {
		ahead         time.Duration
		warn, unready bool
	}{{time.Second, false, false}, {10 * time.Second, true, false}, {40 * time.Second, true, true}} {
		r := New(Config{Name: "A", Topology: topologyOf(0, "B"), Epoch: 1})
		now := time.Unix(1_700_000_000, 0)
		report(t, r, "IAMAT kiwi +1+1 100", now.Add(tt.ahead).Unix())
		if got, want := r.Heartbeat(0, now).Clock, wire.InstantOf(now.Add(tt.ahead)); got != want {
			t.Errorf("the heartbeat's clock is %v, want %v", got, want)
		}
		events := r.Tick(now)
		warned := slices.ContainsFunc(events, func(e Event) bool {
			return e.Kind == Clock && strings.Contains(e.Text, "this server's clock (A) was set back")
		})
		if warned != tt.warn || (r.ClockProblem() != "") != tt.unready {
			t.Errorf("%v ahead: warned %v, problem %q, want %v, %v", tt.ahead, warned, r.ClockProblem(), tt.warn, tt.unready)
		}
		if again := r.Tick(now.Add(100 * time.Millisecond)); len(again) > 0 {
			t.Errorf("%v ahead: reported again: %v", tt.ahead, again)
		}
		events = r.Tick(now.Add(tt.ahead))
		if r.ClockProblem() != "" || (len(events) == 1 && events[0].Recovered) != tt.warn {
			t.Errorf("%v later: problem %q, events %v", tt.ahead, r.ClockProblem(), events)
		}
	}
}
