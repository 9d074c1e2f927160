package batch

import (
	"testing"
	"time"
)

// TestMeter: a server is busy after a window with more than Busy items per Window, and
// no longer after a window with fewer.
func TestMeter(t *testing.T) {
	now := time.Unix(1000, 0)
	m := Meter{Window: time.Millisecond, Busy: 4}
	for i, tt := range []struct {
		after time.Duration
		items int
		ended bool
		busy  bool
	}{
		{0, 100, true, false}, // the first window began long ago
		{time.Millisecond / 2, 5, false, false},
		{time.Millisecond / 2, 0, true, true},
		{time.Millisecond / 2, 0, false, true},
		{3 * time.Millisecond / 2, 8, true, false}, // exactly Busy per Window
		{2 * time.Millisecond, 9, true, true},
		{time.Second, 1, true, false},
	} {
		now = now.Add(tt.after)
		if ended := m.Add(tt.items, now); ended != tt.ended || m.IsBusy() != tt.busy {
			t.Errorf("step %d: ended %v, busy %v, want %v, %v", i, ended, m.IsBusy(), tt.ended, tt.busy)
		}
	}
}

// TestDelayUnderLoad: on a busy server a waiter waits for as many others as there were in
// the last window, MaxDelay at most, and not once a batch is full.
func TestDelayUnderLoad(t *testing.T) {
	const ms = time.Millisecond
	now := time.Unix(1000, 0)
	b := New(Policy{MaxDelay: ms, Busy: 4, Full: 256})
	delay := func(name string, q Queue, after, want time.Duration) {
		t.Helper()
		if got := b.Delay(q, now.Add(after)); got != want {
			t.Errorf("%s: Delay(%+v) = %v, want %v", name, q, got, want)
		}
	}
	b.Flushed(1, 1, 0, now)
	delay("idle", Queue{Items: 1, Waiters: 1}, 0, 0)
	var members [3]uint64
	for range 2 { // each counts once
		for i := range members {
			b.Member(&members[i])
		}
	}
	now = now.Add(ms)
	b.Flushed(10, 3, 0, now)
	delay("busy, alone", Queue{Items: 1, Waiters: 1}, 0, ms)
	delay("busy, alone for a while", Queue{Items: 1, Waiters: 1, Age: ms / 4}, 0, ms*3/4)
	delay("busy, all there", Queue{Items: 3, Waiters: 3}, 0, 0)
	delay("busy, full", Queue{Items: 256, Waiters: 1}, 0, 0)
	delay("the last flush is long ago", Queue{Items: 1, Waiters: 1}, ms, 0)
	now = now.Add(ms)
	b.Flushed(1, 1, 0, now)
	delay("idle again", Queue{Items: 1, Waiters: 1}, 0, 0)
}

// TestDelayOfSlowFlushes: where a flush is slow, waiters wait for as many others as the
// last flush released, for half of its time and MaxDelay at most.
func TestDelayOfSlowFlushes(t *testing.T) {
	const ms = time.Millisecond
	now := time.Unix(1000, 0)
	b := New(Policy{MaxDelay: ms, SlowFlush: ms / 2})
	for _, tt := range []struct {
		took     time.Duration
		released int
		q        Queue
		want     time.Duration
	}{
		{ms / 4, 8, Queue{Items: 1, Waiters: 1}, 0},
		{ms, 8, Queue{Items: 1, Waiters: 1}, ms / 2},
		{10 * ms, 8, Queue{Items: 7, Waiters: 7, Age: ms / 4}, ms * 3 / 4},
		{10 * ms, 8, Queue{Items: 8, Waiters: 8}, 0},
		{10 * ms, 1, Queue{Items: 1, Waiters: 1}, 0},
	} {
		b.Flushed(100, tt.released, tt.took, now)
		if got := b.Delay(tt.q, now); got != tt.want {
			t.Errorf("after a flush of %v that released %d: Delay(%+v) = %v, want %v", tt.took, tt.released, tt.q, got, tt.want)
		}
	}
}

// TestLinger: items that nobody waits for linger, longer while they are many, and not at
// all once somebody waits.
func TestLinger(t *testing.T) {
	b := New(Policy{MaxDelay: time.Millisecond, Full: 256, MinLinger: 5 * time.Millisecond, MaxLinger: 200 * time.Millisecond})
	for q, want := range map[Queue]time.Duration{
		{Items: 1}:                                     5 * time.Millisecond,
		{Items: 255, Age: 4 * time.Millisecond}:        time.Millisecond,
		{Items: 255, Age: 6 * time.Millisecond}:        -time.Millisecond,
		{Items: 256, Age: 6 * time.Millisecond}:        194 * time.Millisecond,
		{Items: 255, Waiters: 1, Age: time.Nanosecond}: 0,
	} {
		if got := b.Delay(q, time.Unix(1000, 0)); got != want {
			t.Errorf("Delay(%+v) = %v, want %v", q, got, want)
		}
	}
}
