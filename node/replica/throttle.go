package replica

import (
	"fmt"
	"time"
)

// A neighbour that goes up and down, or whatever else it does with each message, is
// reported eventBurst times, and then every eventEvery.
const (
	eventBurst = 20
	eventEvery = time.Second
)

// throttle bounds the events about one neighbour.
type throttle struct {
	full    time.Time // when there is room for eventBurst events again
	leftOut int       // since the last event that was reported
	last    Event     // of those left out
}

// take reports whether there is room for one event, and takes it.
func (t *throttle) take(now time.Time) bool {
	if t.full.Before(now) {
		t.full = now
	}
	if t.full.Sub(now) > (eventBurst-1)*eventEvery {
		return false
	}
	t.full = t.full.Add(eventEvery)
	return true
}

// limited returns the events that are to be reported now. Of those that it leaves out, the
// last one is reported when there is room.
func (d *edge) limited(events []Event, now time.Time) (report []Event) {
	t := &d.throttle
	for _, event := range events {
		if !t.take(now) {
			t.leftOut++
			t.last = event
			continue
		}
		report = append(report, t.counted(event))
	}
	return report
}

// leftOut is the last event that was left out, if there is room for it by now.
func (d *edge) leftOut(now time.Time) []Event {
	if t := &d.throttle; t.leftOut > 0 && t.take(now) {
		t.leftOut-- // it is reported
		return []Event{t.counted(t.last)}
	}
	return nil
}

// counted adds to an event how many were left out before it.
func (t *throttle) counted(event Event) Event {
	if t.leftOut > 0 {
		event.Text += fmt.Sprintf("; %d events before it were left out", t.leftOut)
		t.leftOut = 0
	}
	return event
}
