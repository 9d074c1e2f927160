package replica

import (
	"fmt"
	"time"

	"herd/node/wire"
)

// A clock that differs by more than clockWarn is reported. One that differs by more than
// clockUnready makes the server unready.
const (
	clockWarn    = 2 * time.Second
	clockUnready = 30 * time.Second
	clockSamples = 3 // consecutive heartbeats that must agree
)

// neighbourClock estimates how far a neighbour's clock is ahead of ours, from its last
// heartbeats. A heartbeat that was delayed makes the clock look late, so the largest of
// the samples counts.
type neighbourClock struct {
	samples []time.Duration
	warned  bool
}

// skew is how far the clock is ahead, if there are enough samples.
func (c *neighbourClock) skew() (ahead time.Duration, known bool) {
	if len(c.samples) < clockSamples {
		return 0, false
	}
	ahead = c.samples[0]
	for _, s := range c.samples {
		ahead = max(ahead, s)
	}
	return ahead, true
}

// noteClock takes a sample from the heartbeat that has just arrived. After a suspension
// of this process heartbeats have waited, so none counts for a while.
func (r *Replica) noteClock(d *edge, now time.Time) []Event {
	c := &d.clock
	if now.Sub(r.resumed) < DownAfter {
		c.samples = nil
		return nil
	}
	ahead := d.heartbeat.Clock.Sub(wire.InstantOf(now))
	c.samples = append(c.samples, time.Duration(ahead.Seconds()*float64(time.Second)))
	if len(c.samples) < clockSamples {
		return nil
	}
	c.samples = c.samples[len(c.samples)-clockSamples:]
	skew, _ := c.skew()
	warned := c.warned
	c.warned = skew.Abs() > clockWarn
	switch {
	case c.warned && !warned:
		return []Event{{Clock, d.peer, fmt.Sprintf("the clock of %s differs from ours by %v", d.peer, skew.Round(time.Millisecond))}}
	case warned && !c.warned:
		return []Event{{Clock, d.peer, fmt.Sprintf("the clock of %s agrees with ours again", d.peer)}}
	}
	return nil
}

// noteSuspension notices that this process did not run for a while.
func (r *Replica) noteSuspension(now time.Time) {
	if !r.lastTick.IsZero() && now.Sub(r.lastTick) > 2*HeartbeatEvery {
		r.resumed = now
	}
}

// ClockProblem describes a neighbour that is up and whose clock differs so much from ours
// that one of the two must be wrong; "" if there is none.
func (r *Replica) ClockProblem() string {
	for i := range r.edges {
		d := &r.edges[i]
		if skew, known := d.clock.skew(); d.up && known && skew.Abs() > clockUnready {
			return fmt.Sprintf("the clock of %s differs from ours by %v", d.peer, skew.Round(time.Second))
		}
	}
	return ""
}
