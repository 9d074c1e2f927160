package replica

import (
	"fmt"
	"strings"
	"time"

	"herd/bus/plural"
	"herd/node/wire"
)

// Two clocks that differ by more than clockWarn are reported. Two that differ by more
// than clockUnready do not agree.
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
	// agreeing is how many heartbeats in turn agreed with our clock, up to the last one, and since ours last jumped.
	agreeing int
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

// ownClock is how our clock is judged, at the last tick.
type ownClock struct {
	// lead is how far our receipts are ahead of the wall clock: it was set back after
	// reports had arrived.
	lead   time.Duration
	warned bool // that lead was reported
	off    bool // that it does not agree with the neighbours' was reported
}

// reading is the clock that stands in our receipts: heartbeats carry it, and the
// neighbours' clocks are compared with it.
func (r *Replica) reading(now time.Time) wire.Instant { return r.clock.Peek(r.wall(now)) }

// noteClock takes a sample from the heartbeat that has just arrived. After a suspension
// of this process heartbeats have waited, so none counts for a while.
func (r *Replica) noteClock(d *edge, now time.Time) []Event {
	c := &d.clock
	if now.Sub(r.resumed) < DownAfter {
		c.samples = nil
		return nil
	}
	ahead := d.heartbeat.Clock.Sub(r.reading(now)).Duration()
	if c.agreeing++; ahead.Abs() > clockUnready {
		c.agreeing = 0
	}
	c.samples = append(c.samples, ahead)
	if len(c.samples) < clockSamples {
		return nil
	}
	c.samples = c.samples[len(c.samples)-clockSamples:]
	skew, _ := c.skew()
	warned := c.warned
	c.warned = skew.Abs() > clockWarn
	switch {
	case c.warned && !warned:
		text := fmt.Sprintf("the clock of %s differs from ours by %s", d.peer, offset(skew))
		if skew.Abs() > clockUnready {
			text += r.judgeClocks(noEdge).verdict()
		}
		return []Event{{Kind: Clock, Peer: d.peer, Text: text}}
	case warned && !c.warned:
		return []Event{{Kind: Clock, Peer: d.peer, Text: fmt.Sprintf("the clock of %s agrees with ours again", d.peer), Recovered: true}}
	}
	return nil
}

// clockVote is how our clock compares with those of the neighbours that are up and whose
// clocks are known.
type clockVote struct {
	wire.Clocks
	differing []*edge // whose clocks do not agree with ours
}

// judgeClocks leaves out the neighbour at edge without.
func (r *Replica) judgeClocks(without int) (v clockVote) {
	for e, d := range r.edges {
		skew, known := d.clock.skew()
		switch {
		case e == without || !d.up || !known:
			continue
		case skew.Abs() <= clockUnready:
			v.Agree++
		default:
			v.differing = append(v.differing, d)
		}
		v.Known++
	}
	return v
}

// oursIsOff decides by majority: our clock is off if the servers whose clocks agree with
// it, us included, are fewer than half of us and our neighbours. At exactly half it is off
// only if a neighbour that differs agrees with more than half of its other neighbours: so
// of two groups that see each other through one edge, the smaller one is off.
func (v clockVote) oursIsOff() bool {
	switch agree, all := 2*(v.Agree+1), v.Known+1; {
	case agree < all:
		return true
	case agree > all:
		return false
	}
	for _, d := range v.differing {
		if theirs := d.heartbeat.Clocks; 2*theirs.Agree > theirs.Known {
			return true
		}
	}
	return false
}

// verdict is the end of a sentence about a neighbour whose clock does not agree with ours.
func (v clockVote) verdict() string {
	switch {
	case v.oursIsOff():
		return fmt.Sprintf(": ours is off, it agrees with %s", plural.Of(v.Agree, v.Known, "neighbour"))
	case 2*(v.Agree+1) > v.Known+1:
		return fmt.Sprintf(": it is off, ours agrees with %s", plural.Of(v.Agree, v.Known, "neighbour"))
	}
	return ": one of the two is off"
}

// offset is how far a clock is ahead, for people; negative if it is behind.
func offset(ahead time.Duration) string {
	const most = 100 * 365 * 24 * time.Hour
	switch {
	case ahead > most:
		return "more than 100 years"
	case ahead < -most:
		return "more than -100 years"
	}
	return ahead.Round(time.Millisecond).String()
}

// noteOwnClock judges our own clock and reports when that changes.
func (r *Replica) noteOwnClock(now time.Time) (events []Event) {
	c := &r.own
	c.lead = r.reading(now).Sub(r.wall(now)).Duration()
	if warn := c.lead > clockWarn; warn != c.warned {
		c.warned = warn
		text := "receipts agree with our clock again"
		if warn {
			text = r.leadText()
		}
		events = append(events, Event{Kind: Clock, Text: text, Recovered: !warn})
	}
	v := r.judgeClocks(noEdge)
	if off := v.oursIsOff(); off != c.off {
		c.off = off
		text := r.ourClock() + " is no longer off"
		if off {
			text = r.offText(v)
		}
		events = append(events, Event{Kind: Clock, Text: text, Recovered: !off})
	}
	return events
}

// ourClock is the subject of a sentence about our own clock.
func (r *Replica) ourClock() string { return "this server's clock (" + r.cfg.Name + ")" }

func (r *Replica) leadText() string {
	return fmt.Sprintf("%s was set back: receipts are %s ahead of it; restart the server once the clock is right", r.ourClock(), offset(r.own.lead))
}

func (r *Replica) offText(v clockVote) string {
	const most = 3 // neighbours that are listed
	var theirs []string
	for _, d := range v.differing[:min(len(v.differing), most)] {
		skew, _ := d.clock.skew()
		theirs = append(theirs, fmt.Sprintf("that of %s differs by %s", d.peer, offset(skew)))
	}
	return fmt.Sprintf("%s is off: it agrees with %s; %s", r.ourClock(), plural.Of(v.Agree, v.Known, "neighbour"), strings.Join(theirs, ", "))
}

// noteSuspension notices that this process did not run for a while.
func (r *Replica) noteSuspension(now time.Time) {
	if !r.lastTick.IsZero() && now.Sub(r.lastTick) > 2*HeartbeatEvery {
		r.resumed = now
	}
}

// ClockProblem says why our own clock cannot be relied on; "" if it can. It names our
// server: a neighbour whose clock is off is its own problem, and an event here.
func (r *Replica) ClockProblem() string {
	if r.own.lead > clockUnready {
		return r.leadText()
	}
	if v := r.judgeClocks(noEdge); v.oursIsOff() {
		return r.offText(v)
	}
	return ""
}
