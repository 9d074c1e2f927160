package replica

import (
	"errors"
	"fmt"
	"time"

	"herd/bus/plural"
	"herd/node/wire"
)

// A neighbour that breaks the protocol, because it is faulty or somebody has its key, is
// put into quarantine: for a while its messages are ignored and it gets none. So its edge
// is down, and no other edge is affected. Nothing is lost: what either side has missed is
// queued or compared when the edge comes up again. A herd without a faulty server has no
// quarantine, whatever is lost, delayed or restarted; the simulation checks that.
//
// What breaks the protocol (node/wire/PROTOCOL.md has the rules):
//
//   - a frame, heartbeat or message of repair that cannot be parsed, or whose counts are
//     wrong;
//   - a frame that is larger than one message may be;
//   - a sequence number that the neighbour cannot have reached;
//   - a record with the neighbour as its origin whose receipt is more than a day after the
//     neighbour's own clock: no server floods such a record of its own (isNotOurs);
//   - more heartbeats, comparisons or requests than a comparison of maps needs;
//   - records again and again that we have already.
//
// A few such messages are only counted and dropped: on a bus without keys, anybody could
// have sent them. What cannot be parsed counts least.
const (
	offencePoints = 100 // at a time
	pointEvery    = time.Second / 2

	malformedPoints = 1  // of what cannot be parsed
	breachPoints    = 10 // of what can be parsed
	lyingPoints     = 25 // about a clock

	firstQuarantine = 30 * time.Second
	maxQuarantine   = 4 * time.Minute
	quarantineReset = 10 * time.Minute // without one, the next one is short again
)

// The most that a neighbour that keeps to the protocol sends.
const (
	heartbeatBurst, heartbeatEvery   = 500, time.Second / 100 // while a server stops, it asks 50 times a second
	comparisonBurst, comparisonEvery = 100, time.Second / 4
	requestBurst, requestEvery       = 4000, time.Second / 2000
	droppedBurst, droppedEvery       = 50, time.Second
	// repeatsAllowed lines that we have already arrive at any time, beside those that
	// follow from our news: see repeats.
	repeatsAllowed = 100_000
)

// conduct is how a neighbour keeps to the protocol.
type conduct struct {
	offences    tokenBucket
	heartbeats  tokenBucket
	comparisons tokenBucket
	requests    tokenBucket
	dropped     tokenBucket // requests that were replaced by a later one before they were answered
	repeats     repeats
	claim       claim

	until  time.Time // end of the quarantine; zero if there is none
	ended  time.Time // end of the last one
	length time.Duration
	reason string // of the last one
}

// offending is an error about a message that breaks the protocol. Other malformed messages
// may be what is left of a reply of which a part was lost.
type offending struct{ error }

// judgeError notes an offence if err is of a message that breaks the protocol.
func (r *Replica) judgeError(e int, err error, now time.Time) []Event {
	if o := (offending{}); !errors.As(err, &o) {
		return nil
	}
	return r.offence(e, breachPoints, err.Error(), now)
}

var errQuarantined = errors.New("the neighbour is in quarantine")

// quarantined reports whether the messages of the neighbour are ignored.
func (d *edge) quarantined(now time.Time) bool { return now.Before(d.conduct.until) }

// Quarantined lists the neighbours in quarantine.
func (r *Replica) Quarantined(now time.Time) (peers []string) {
	for _, d := range r.edges {
		if !d.removed && d.quarantined(now) {
			peers = append(peers, d.peer)
		}
	}
	return peers
}

// offence notes a message on edge e that breaks the protocol. Too many points lead to
// quarantine.
func (r *Replica) offence(e, points int, what string, now time.Time) []Event {
	d := r.edges[e]
	d.counts.Offences++
	if d.conduct.offences.take(now, points, offencePoints, pointEvery) {
		return nil
	}
	return r.quarantine(e, what, now)
}

// quarantine puts the neighbour at edge e into quarantine.
func (r *Replica) quarantine(e int, why string, now time.Time) []Event {
	d := r.edges[e]
	c := &d.conduct
	if now.Sub(c.ended) >= quarantineReset {
		c.length = 0
	}
	c.length = min(max(2*c.length, firstQuarantine), maxQuarantine)
	c.until, c.reason = now.Add(c.length), why
	text := c.describe(d.peer)
	return append(r.goDown(e, "it is in quarantine"), Event{Kind: Mismatch, Peer: d.peer, Text: text})
}

// describe says in one line why the neighbour is in quarantine.
func (c *conduct) describe(peer string) string {
	return fmt.Sprintf("%s is in quarantine for %v because it broke the protocol: %s", peer, c.length, c.reason)
}

// endQuarantine ends a quarantine that is over. The edge comes up with the next heartbeat.
func (d *edge) endQuarantine(now time.Time) []Event {
	c := &d.conduct
	if c.until.IsZero() || now.Before(c.until) {
		return nil
	}
	*c = conduct{ended: now, length: c.length, reason: c.reason}
	d.heard = time.Time{}
	return []Event{{Kind: Mismatch, Peer: d.peer, Text: fmt.Sprintf("the quarantine of %s is over", d.peer), Recovered: true}}
}

// Malformed says that a message arrived over edge e that could not be parsed.
func (r *Replica) Malformed(e int, what string, now time.Time) []Event {
	if r.edges[e].removed || r.edges[e].quarantined(now) {
		return nil
	}
	return r.offence(e, malformedPoints, what, now)
}

// RequestDropped says that a request of the neighbour at edge e was dropped because a later
// one had arrived before it could be answered.
func (r *Replica) RequestDropped(e int, now time.Time) []Event {
	d := r.edges[e]
	if d.removed || d.quarantined(now) || d.conduct.dropped.take(now, 1, droppedBurst, droppedEvery) {
		return nil
	}
	d.counts.Offences++
	return r.quarantine(e, "it sent requests of repair faster than they can be answered", now)
}

// judgeFrame judges a frame that was merged.
func (r *Replica) judgeFrame(e int, m wire.Mark, frame []byte, result FrameResult, now time.Time) []Event {
	d := r.edges[e]
	lines := result.News + result.Duplicates + result.Stale + result.Refused + result.Malformed
	switch {
	case !d.conduct.repeats.note(result.Duplicates, r.store.Len(), r.journalSeq):
		d.counts.Offences++
		return r.quarantine(e, "it sent records again and again that we have already", now)
	case result.Malformed > 0:
		return r.offence(e, malformedPoints, fmt.Sprintf("a frame had %s", plural.Count(result.Malformed, "malformed line")), now)
	case len(frame) > messageSize && lines > 1:
		return r.offence(e, breachPoints, fmt.Sprintf("a frame of %d lines had %d bytes, more than %d", lines, len(frame), messageSize), now)
	case !d.in.plausible(m, now):
		return r.offence(e, breachPoints, fmt.Sprintf("a frame had the number %d, after %d", m.Seq, d.in.seen.Seq), now)
	}
	return nil
}

// judgeHeartbeat judges a heartbeat before anything that it says is used.
func (r *Replica) judgeHeartbeat(e int, b wire.Heartbeat, now time.Time) []Event {
	d := r.edges[e]
	switch {
	case !d.conduct.heartbeats.take(now, 1, heartbeatBurst, heartbeatEvery):
		d.counts.Offences++
		return r.quarantine(e, "it sent too many heartbeats", now)
	case !d.in.plausible(wire.Mark{Epoch: b.Epoch, Seq: b.Seq}, now):
		return r.offence(e, breachPoints, fmt.Sprintf("a heartbeat had the number %d, after %d", b.Seq, d.in.seen.Seq), now)
	}
	return nil
}

// judgeRequest judges a request of a comparison.
func (r *Replica) judgeRequest(e int, kind wire.SyncKind, now time.Time) []Event {
	d := r.edges[e]
	why := ""
	switch {
	case kind == wire.RequestGroups && !d.conduct.comparisons.take(now, 1, comparisonBurst, comparisonEvery):
		why = "it began too many comparisons"
	case !d.conduct.requests.take(now, 1, requestBurst, requestEvery):
		why = "it sent too many requests of repair"
	default:
		return nil
	}
	d.counts.Offences++
	return r.quarantine(e, why, now)
}
