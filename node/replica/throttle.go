package replica

import (
	"fmt"
	"time"

	"herd/bus/plural"
)

// A neighbour that goes up and down, or whatever else it does with each message, is
// reported eventBurst times, and then every eventEvery.
const (
	eventBurst = 20
	eventEvery = time.Second
)

// tokenBucket limits a rate. The zero tokenBucket is full.
type tokenBucket struct {
	full time.Time // when it is full again
}

// take takes n tokens, and reports false if there are fewer. The bucket holds burst tokens
// and gets one every so often.
func (b *tokenBucket) take(now time.Time, n, burst int, every time.Duration) bool {
	if b.full.Before(now) {
		b.full = now
	}
	if b.full.Sub(now) > time.Duration(burst-n)*every {
		return false
	}
	b.full = b.full.Add(time.Duration(n) * every)
	return true
}

// throttle bounds the events about one neighbour.
type throttle struct {
	tokenBucket
	leftOut int   // since the last event that was reported
	last    Event // of those left out
}

// take reports whether there is room for one event, and takes it.
func (t *throttle) take(now time.Time) bool {
	return t.tokenBucket.take(now, 1, eventBurst, eventEvery)
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
		event.Text += fmt.Sprintf("; %s before it %s left out", plural.Count(t.leftOut, "event"), plural.Form(t.leftOut, "was", "were"))
		t.leftOut = 0
	}
	return event
}
