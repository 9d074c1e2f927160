package replica

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"herd/node/wire"
)

// offender is a replica A with neighbours B, which breaks the protocol, and C, which does
// not. Repair is on.
type offender struct {
	t   *testing.T
	r   *Replica
	now time.Time
	seq uint64 // of B's frames
}

func newOffender(t *testing.T) *offender {
	o := &offender{t: t, r: New(Config{Name: "A", Topology: Topology{Neighbours: []string{"B", "C"}, Hash: 7}, Epoch: ourEpoch, Repair: 30 * time.Second}), now: time.Unix(1_700_000_000, 0)}
	o.second()
	return o
}

// second lets a second pass, in which both neighbours send a heartbeat.
func (o *offender) second() (events []Event) {
	o.now = o.now.Add(HeartbeatEvery)
	for e := range 2 {
		more, _ := o.r.HandleHeartbeat(e, o.heartbeat(e), o.now)
		events = append(events, more...)
	}
	return append(events, o.r.Tick(o.now)...)
}

func (o *offender) heartbeat(e int) wire.Heartbeat {
	b := heartbeatOf(theirEpoch, 0)
	b.NoRepair, b.Ready, b.Clock = false, true, wire.InstantOf(o.now)
	if e == 0 {
		b.Seq = o.seq
	}
	return b
}

// frame is a frame of B, with the next number.
func (o *offender) frame(data string) []Event {
	o.seq++
	return o.frameWith(wire.Mark{Epoch: theirEpoch, Seq: o.seq}, data)
}

func (o *offender) frameWith(m wire.Mark, data string) []Event {
	_, events := o.r.Frame(0, m, []byte(data), o.now)
	return events
}

// comparison is the ID of the comparison with B.
func (o *offender) comparison() uint64 {
	for o.r.edges[0].comparison == nil {
		o.r.edges[0].sync.schedule(o.now, scheduled)
		if _, _, ok := o.r.NextRequest(o.now); !ok {
			o.t.Fatal("no comparison begins")
		}
	}
	return o.r.edges[0].comparison.id
}

func (o *offender) reply(m wire.Sync) []Event {
	result, _ := o.r.HandleReply(0, m.Append(nil), o.now)
	return result.Events
}

func (o *offender) request(m wire.Sync) []Event {
	_, events, _ := o.r.HandleRequest(0, m.Append(nil), o.now)
	return events
}

// TestQuarantine: a neighbour that breaks the protocol again and again is put into
// quarantine, with an event that says why, and one message alone does not suffice. The
// other neighbour is not affected. Afterwards the edge comes up and a comparison is due.
func TestQuarantine(t *testing.T) {
	long := strings.Repeat("AT B +0.000000000 kiwi +1+1 100\n", messageSize/32+1)
	var digests [wire.Groups]uint64
	groups := wire.Sync{Kind: wire.RequestGroups, Last: true, Body: wire.AppendDigests(nil, &digests)}
	for name, test := range map[string]struct {
		offend  func(o *offender) []Event
		reason  string
		allowed int // messages that do not suffice
	}{
		"malformed lines": {
			func(o *offender) []Event { return o.frame("AT B kiwi\nno record\n") },
			"a frame had 2 malformed lines", offencePoints / malformedPoints,
		},
		"frame too large": {
			func(o *offender) []Event { return o.frame(long) },
			fmt.Sprintf("a frame of %d lines had %d bytes", strings.Count(long, "\n"), len(long)), offencePoints / breachPoints,
		},
		"number that cannot have been reached": {
			func(o *offender) []Event {
				return o.frameWith(wire.Mark{Epoch: theirEpoch, Seq: math.MaxUint64}, "AT B +0.000000000 kiwi +1+1 100\n")
			},
			"a frame had the number 18446744073709551615, after ", offencePoints / breachPoints,
		},
		"such a number in a heartbeat": {
			func(o *offender) []Event {
				b := o.heartbeat(0)
				b.Seq = 1 << 50
				events, _ := o.r.HandleHeartbeat(0, b, o.now)
				return events
			},
			"a heartbeat had the number 1125899906842624, after ", offencePoints / breachPoints,
		},
		"malformed heartbeat": {
			func(o *offender) []Event { return o.r.Malformed(0, "heartbeat: 3 keys are missing", o.now) },
			"heartbeat: 3 keys are missing", offencePoints / malformedPoints,
		},
		"malformed request": {
			func(o *offender) []Event {
				return o.request(wire.Sync{Kind: wire.RequestGroups, Body: []byte("short")})
			},
			"not a repair message", offencePoints / breachPoints,
		},
		"reply of wrong counts": {
			func(o *offender) []Event {
				id := o.comparison()
				o.r.edges[0].comparison.compared = true
				o.r.edges[0].comparison.requested = []uint16{5}
				return o.reply(wire.Sync{Kind: wire.ReplyLines, ID: id, Last: true, Done: 2, Body: []byte("AT B +0.000000000 kiwi +1+1 100\n")})
			},
			"a reply of lines covers 2 buckets of 1 that were requested", offencePoints / breachPoints,
		},
		"empty parts of a reply": {
			func(o *offender) []Event { return o.reply(wire.Sync{Kind: wire.ReplyBuckets, ID: o.comparison()}) },
			"a part of a reply is empty", offencePoints / breachPoints,
		},
		"malformed lines in a reply that nobody asked for": {
			func(o *offender) []Event {
				return o.reply(wire.Sync{Kind: wire.ReplyLines, ID: 3, Body: []byte("no record\n")})
			},
			"not a record", offencePoints / breachPoints,
		},
		"too many heartbeats": {
			func(o *offender) []Event {
				events, _ := o.r.HandleHeartbeat(0, o.heartbeat(0), o.now)
				return events
			},
			"it sent too many heartbeats", heartbeatBurst - 1,
		},
		"too many comparisons": {
			func(o *offender) []Event { return o.request(groups) },
			"it began too many comparisons", comparisonBurst,
		},
		"too many requests": {
			func(o *offender) []Event { return o.request(wire.Sync{Kind: wire.RequestLines, Last: true}) },
			"it sent too many requests of repair", requestBurst,
		},
		"requests that replace each other": {
			func(o *offender) []Event { return o.r.RequestDropped(0, o.now) },
			"it sent requests of repair faster than they can be answered", droppedBurst,
		},
		"the same records again and again": {
			func(o *offender) []Event { return o.frame(strings.Repeat("AT B +0.000000000 kiwi +1+1 100\n", 1000)) },
			"it sent records again and again that we have already", repeatsAllowed / 1000,
		},
		"receipts that are days ahead": {
			func(o *offender) []Event {
				ahead := o.now.Unix() + 2*24*60*60
				o.frame(fmt.Sprintf("AT B +0.000000000 kiwi%d +1+1 %d\n", o.now.Unix(), ahead))
				return o.second()
			},
			receiptsAhead, offencePoints / lyingPoints,
		},
	} {
		t.Run(name, func(t *testing.T) {
			o := newOffender(t)
			for i := range test.allowed {
				if test.offend(o); o.r.edges[0].quarantined(o.now) {
					t.Fatalf("in quarantine after %d messages, want more than %d", i+1, test.allowed)
				}
			}
			var events []Event
			for i := 0; !o.r.edges[0].quarantined(o.now); i++ {
				if events = test.offend(o); i > 2 {
					t.Fatalf("not in quarantine after %d messages", test.allowed+i)
				}
			}
			want := "B is in quarantine for 30s because it broke the protocol: " + test.reason
			if !slices.ContainsFunc(events, func(e Event) bool { return e.Kind == Mismatch && e.Peer == "B" && strings.HasPrefix(e.Text, want) }) {
				t.Errorf("events %v, want %q", events, want)
			}
			o.checkQuarantine()
		})
	}
}

// checkQuarantine checks what a quarantine of B that has just begun does, and its end.
func (o *offender) checkQuarantine() {
	o.t.Helper()
	info := o.r.Edge(0, o.now)
	if !info.Quarantined || info.Up || info.Refused || !strings.HasPrefix(info.Problem, "B is in quarantine") || info.Offences == 0 || !o.r.Heartbeat(0, o.now).Quarantined {
		o.t.Errorf("the edge to B is %+v", info)
	}
	if !slices.Equal(o.r.Quarantined(o.now), []string{"B"}) || o.r.Heartbeat(1, o.now).Quarantined || !o.r.edges[1].up {
		o.t.Errorf("in quarantine: %v, want B alone", o.r.Quarantined(o.now))
	}
	o.frame("AT B +0.000000000 ignored +1+1 100\n")
	if o.r.Map().Has([]byte("ignored")) {
		o.t.Error("a frame of a neighbour in quarantine was merged")
	}
	if _, _, err := o.r.HandleRequest(0, wire.Sync{Kind: wire.RequestLines, Last: true}.Append(nil), o.now); err == nil {
		o.t.Error("a request of a neighbour in quarantine was answered")
	}
	if o.r.Frame(1, wire.Mark{Epoch: theirEpoch, Seq: 1}, []byte("AT C +0.000000000 honest +1+1 100\n"), o.now); !o.r.Map().Has([]byte("honest")) {
		o.t.Error("a frame of the other neighbour was not merged")
	}
	for range int(firstQuarantine/HeartbeatEvery) - 1 {
		if o.second(); !o.r.edges[0].quarantined(o.now) {
			o.t.Fatal("the quarantine ended early")
		}
	}
	o.second()
	o.second()
	if d := o.r.edges[0]; d.quarantined(o.now) || !d.up || d.sync.due.IsZero() || strings.Contains(o.r.Edge(0, o.now).Problem, "quarantine") {
		o.t.Errorf("after the quarantine: %+v, want the edge up and a comparison due", o.r.Edge(0, o.now))
	}
	if o.r.quarantine(0, "again", o.now); o.r.edges[0].conduct.length != 2*firstQuarantine {
		o.t.Errorf("the next one takes %v, want twice as long", o.r.edges[0].conduct.length)
	}
}

// TestForgedNumber: a number that somebody else sent, and that could be right, hides losses
// for two seconds at most.
func TestForgedNumber(t *testing.T) {
	o := newOffender(t)
	o.frame("AT B +0.000000000 kiwi +1+1 100\n")
	o.frameWith(wire.Mark{Epoch: theirEpoch, Seq: 1 << 19}, "AT B +0.000000000 kiwi +1+1 100\n")
	o.r.edges[0].sync.due = time.Time{}
	for range 3 {
		o.second()
	}
	if d := o.r.edges[0]; d.in.seen.Seq != o.seq || d.sync.due.IsZero() {
		t.Errorf("last number seen is %d, B's is %d; want a comparison", d.in.seen.Seq, o.seq)
	}
	o.seq++ // is lost
	o.frame("AT B +0.000000000 kiwi +1+1 100\n")
	if got := o.r.edges[0].counts.Lost; got < 2 {
		t.Errorf("%d frames are known to be lost, want the later one too", got)
	}
}

// TestClockSetForward: a server whose clock is set forward, and its heartbeats, are not
// taken for a breach of the protocol.
func TestClockSetForward(t *testing.T) {
	o := newOffender(t)
	for range 20 {
		o.frame(fmt.Sprintf("AT B +0.000000000 kiwi%d +1+1 %d\n", o.seq, o.now.Unix()+365*24*60*60))
		o.now = o.now.Add(HeartbeatEvery)
		b := o.heartbeat(0)
		b.Clock = wire.InstantOf(o.now.Add(365 * 24 * time.Hour))
		o.r.HandleHeartbeat(0, b, o.now)
		o.r.Tick(o.now)
	}
	if d := o.r.edges[0]; d.counts.Offences > 0 || d.quarantined(o.now) {
		t.Errorf("%d offences", d.counts.Offences)
	}
}

// TestQuarantinedNeighbour: a server that a neighbour has put into quarantine keeps what it
// has for it, says so, and stays ready.
func TestQuarantinedNeighbour(t *testing.T) {
	o := newOffender(t)
	b := o.heartbeat(0)
	b.Quarantined = true
	events, _ := o.r.HandleHeartbeat(0, b, o.now)
	if len(events) != 2 || events[0].Kind != Down || events[1].Kind != Mismatch || !strings.Contains(events[1].Text, "B ignores us for a while") {
		t.Errorf("events %v", events)
	}
	report(t, o.r, "IAMAT kiwi +1+1 100", o.now.Unix())
	if info := o.r.Edge(0, o.now); info.Up || info.Refused || info.Queued != 1 || !strings.Contains(info.Problem, "B ignores us") {
		t.Errorf("the edge is %+v", info)
	}
	o.second()
	if info := o.r.Edge(0, o.now); !info.Up || info.Queued != 1 {
		t.Errorf("afterwards the edge is %+v", info)
	}
}

// TestForgedOrigin: a record in our name that we cannot have made is merged and not flooded,
// so that nobody blames us for it. Neighbours get it by repair.
func TestForgedOrigin(t *testing.T) {
	o := newOffender(t)
	o.frame(fmt.Sprintf("AT A +0.000000000 kiwi +1+1 %d\n", o.now.Add(2*24*time.Hour).Unix()))
	if got := flush(o.r, 1); got != "" || !o.r.Map().Has([]byte("kiwi")) {
		t.Errorf("flooded: %q", got)
	}
	other := fmt.Sprintf("AT D +0.000000000 emu +1+1 %d\n", o.now.Add(2*24*time.Hour).Unix())
	o.frame(other)
	ours := fmt.Sprintf("AT A +0.000000000 kea +1+1 %d\n", o.now.Unix())
	o.frame(ours)
	if got := flush(o.r, 1); got != other+ours {
		t.Errorf("flooded: %q, want %q", got, other+ours)
	}
}

// TestRepeatsAreCountedAnew: each time an edge comes up, a neighbour may send all that the
// map holds once more, but not if it comes up every second.
func TestRepeatsAreCountedAnew(t *testing.T) {
	o := newOffender(t)
	again := strings.Repeat("AT B +0.000000000 kiwi +1+1 100\n", 1000)
	sendHalf := func() {
		for range repeatsAllowed * 6 / 10 / 1000 {
			o.frame(again)
		}
	}
	restart := func(silent time.Duration) {
		o.now = o.now.Add(silent)
		o.r.Tick(o.now)
		for range 2 {
			o.second()
		}
	}
	for range 3 {
		if sendHalf(); o.r.edges[0].quarantined(o.now) {
			t.Fatal("in quarantine although the edge was down between")
		}
		restart(20 * time.Second)
	}
	sendHalf()
	restart(DownAfter)
	if sendHalf(); !o.r.edges[0].quarantined(o.now) {
		t.Error("not in quarantine although the edge was down for a moment only")
	}
}

// TestLossesWithoutEnd: while messages are lost all the time, comparisons are paced: the
// neighbour would take more of them for an attack.
func TestLossesWithoutEnd(t *testing.T) {
	o := newOffender(t)
	other := newOffender(t)
	begun := 0
	for i := range 60 * 50 {
		o.now = o.now.Add(time.Second / 50)
		if i%50 == 0 {
			o.second()
		}
		o.seq++ // is lost
		o.frame(fmt.Sprintf("AT B +0.000000000 kiwi +1+1 %d\n", i+100))
		for e, request, ok := o.r.NextRequest(o.now); ok; e, request, ok = o.r.NextRequest(o.now) {
			if e != 0 {
				continue
			}
			begun++
			if _, _, err := other.r.HandleRequest(0, request, o.now); err != nil {
				t.Fatalf("comparison %d: %v", begun, err)
			}
			o.r.finish(0, o.now)
		}
	}
	if begun < 60 || begun > paceBurst+2*130 {
		t.Errorf("%d comparisons in two minutes of losses", begun)
	}
}

// TestHeartbeatEndsQuarantine: a heartbeat that arrives when a quarantine is over brings the
// edge up, and the next tick leaves it so.
func TestHeartbeatEndsQuarantine(t *testing.T) {
	o := newOffender(t)
	o.r.quarantine(0, "test", o.now)
	o.now = o.now.Add(firstQuarantine)
	events, _ := o.r.HandleHeartbeat(0, o.heartbeat(0), o.now)
	o.r.HandleHeartbeat(1, o.heartbeat(1), o.now)
	events = append(events, o.r.Tick(o.now)...)
	if d := o.r.edges[0]; !d.up || len(events) != 2 || events[0].Text != "the quarantine of B is over" || !events[0].Recovered || events[1].Kind != Up {
		t.Errorf("up %v, events %v", d.up, events)
	}
}

// TestFirstNumberTooLarge: the first frame of a neighbour, or its first heartbeat, may have any number that a server can reach. A larger
// one breaks the protocol, and no lost messages are counted from it.
func TestFirstNumberTooLarge(t *testing.T) {
	for _, seq := range []uint64{maxSeq + 1, math.MaxUint64} {
		o := &offender{t: t, r: New(Config{Name: "A", Topology: Topology{Neighbours: []string{"B", "C"}, Hash: 7}, Epoch: ourEpoch, Repair: 30 * time.Second}), now: time.Unix(1_700_000_000, 0)}
		for range 2 * offencePoints / breachPoints { // before its first heartbeat
			for _, e := range o.frameWith(wire.Mark{Epoch: theirEpoch, Seq: seq}, "AT B +0.000000000 kiwi +1+1 100\n") {
				if e.Kind == Gap {
					t.Errorf("number %d: %s", seq, e.Text)
				}
			}
		}
		if !o.r.edges[0].quarantined(o.now) {
			t.Errorf("B, whose first number is %d, is not in quarantine", seq)
		}
	}
}
