package replica

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"herd/node/wire"
)

// topologyOf is a topology without triangles.
func topologyOf(hash uint64, neighbours ...string) Topology {
	return Topology{Neighbours: neighbours, Hash: hash}
}

// peers lists the neighbours by edge; "" for a removed one.
func peers(r *Replica) (names []string) {
	for e := range r.Edges() {
		names = append(names, r.Peer(e))
	}
	return names
}

// TestSetTopology: edges are added and removed. An edge that stays keeps its number, and so
// does one that is added again.
func TestSetTopology(t *testing.T) {
	r := newConnected(0) // B and C
	now := time.Unix(20, 0)
	report(t, r, "IAMAT kiwi +1+1 50", 51)
	events := r.SetTopology(topologyOf(8, "C", "D"), now)
	if len(events) != 1 || events[0].Kind != Down || events[0].Peer != "B" {
		t.Errorf("events %+v, want that B is down", events)
	}
	if got := peers(r); !slices.Equal(got, []string{"", "C", "D"}) {
		t.Errorf("edges %q, want B's removed, C's kept and D's added", got)
	}
	if e, ok := r.EdgeTo("C"); e != 1 || !ok {
		t.Errorf("EdgeTo(C) = %d, %v, want 1", e, ok)
	}
	if _, ok := r.EdgeTo("B"); ok {
		t.Error("there is an edge to B, which was removed")
	}
	if b := r.Heartbeat(1, now); b.Topology != 8 {
		t.Errorf("heartbeats have topology %d, want 8", b.Topology)
	}
	if f := r.NextFrame(0, nil); f.Lines > 0 {
		t.Errorf("a frame for B, whose edge was removed: %q", f.Data)
	}
	if got := flush(r, 1); !strings.Contains(got, "kiwi") {
		t.Errorf("C gets %q, want what was queued for it", got)
	}
	if events, reply := r.HandleHeartbeat(0, heartbeatOf(theirEpoch, 0), now); events != nil || reply || r.Edge(0, now).Up {
		t.Errorf("a heartbeat over the removed edge: events %v, reply %v, up %v", events, reply, r.Edge(0, now).Up)
	}
	report(t, r, "IAMAT emu +1+1 50", 52) // nothing is queued for B
	r.SetTopology(topologyOf(9, "D", "B", "C"), now)
	if got := peers(r); !slices.Equal(got, []string{"B", "C", "D"}) {
		t.Errorf("edges %q, want B's back in its old place", got)
	}
	if up, down := r.Queued(); up != 1 || down != 1 { // C is up, D is down
		t.Errorf("%d and %d records are queued, want emu for C and for D", up, down)
	}
}

// TestSequenceOfReturningEdge: frames on an edge that was removed and came back have new
// numbers: the neighbour may have seen the old ones.
func TestSequenceOfReturningEdge(t *testing.T) {
	r := newConnected(0)
	report(t, r, "IAMAT kiwi +1+1 50", 51)
	flush(r, 0)
	r.SetTopology(topologyOf(7, "C"), time.Unix(20, 0))
	r.SetTopology(topologyOf(7, "B", "C"), time.Unix(21, 0))
	r.HandleHeartbeat(0, heartbeatOf(theirEpoch, 0), time.Unix(22, 0))
	report(t, r, "IAMAT emu +1+1 50", 53)
	if f := r.NextFrame(0, nil); f.Mark.Seq != 2 || f.Lines != 1 {
		t.Errorf("number %d with %d lines, want 2 and 1", f.Mark.Seq, f.Lines)
	}
}

// TestTopologyChangesWhileFrameIsInFlight: the records of a frame that was not sent are
// not queued for a neighbour whose edge was removed meanwhile, and are for one whose edge
// came back. What waits for a flush that began before edges were added does not wait for
// them.
func TestTopologyChangesWhileFrameIsInFlight(t *testing.T) {
	r := newConnected(0)
	report(t, r, "IAMAT kiwi +1+1 50", 51)
	ends := r.Ends(nil)
	r.NextFrame(0, nil)
	r.NextFrame(1, nil)
	r.SetTopology(topologyOf(7, "C", "D"), time.Unix(20, 0))
	r.FrameDone(0, NotSent)
	r.FrameDone(1, NotSent)
	if up, down := r.Queued(); up != 1 || down != 0 {
		t.Errorf("%d and %d records are queued, want kiwi for C only", up, down)
	}
	flush(r, 1)
	if !r.LivePassed(ends) || !r.Passed(ends) {
		t.Error("the flush is not complete, although C has its record and B is no neighbour")
	}
	if n := r.Unconfirmed([]uint64{0, 1}); n != 1 {
		t.Errorf("%d neighbours have not confirmed, want C", n)
	}
}

// TestNewEdgeGetsEverything: what was merged before an edge was added crosses it: its
// first comparison brings it.
func TestNewEdgeGetsEverything(t *testing.T) {
	p := newRepairPair(t)
	p.a.SetTopology(topologyOf(0, "C"), p.now)
	p.b.SetTopology(topologyOf(0), p.now)
	mergeLine(t, p.a, "AT A +1.000000000 c1 +1+1 100")
	mergeLine(t, p.b, "AT B +1.000000000 c2 +1+1 100")
	p.a.SetTopology(topologyOf(0, "C", "B"), p.now)
	p.b.SetTopology(topologyOf(0, "A"), p.now)
	p.heartbeats()
	p.settle()
	if p.a.Map().Len() != 2 || p.a.Map().Digest() != p.b.Map().Digest() {
		t.Errorf("A has %d records and B %d, want both records at both", p.a.Map().Len(), p.b.Map().Len())
	}
}

// TestProblem: EdgeInfo says how a neighbour differs, and whether that keeps the edge
// down.
func TestProblem(t *testing.T) {
	now := time.Unix(20, 0)
	with := func(change func(*wire.Heartbeat)) wire.Heartbeat {
		b := heartbeatOf(theirEpoch, 0)
		change(&b)
		return b
	}
	for _, tt := range []struct {
		heartbeat   wire.Heartbeat
		problem     string
		refused, up bool
	}{
		{with(func(b *wire.Heartbeat) {}), "", false, true},
		{with(func(b *wire.Heartbeat) { b.Topology = 0xabc }), "B has another topology: 0000000000000abc, ours is 0000000000000007", false, true},
		{with(func(b *wire.Heartbeat) { b.Format = 1 }), "B has format 1, ours is 2", true, false},
		{with(func(b *wire.Heartbeat) { b.NoEdge = true }), "B does not list an edge with us", true, false},
		{with(func(b *wire.Heartbeat) { b.NoRepair = false }), "B has repair on, ours is off: what either of us misses stays missing", false, true},
	} {
		r := newReplica(0)
		events, reply := r.HandleHeartbeat(0, tt.heartbeat, now)
		info := r.Edge(0, now)
		if info.Problem != tt.problem || info.Refused != tt.refused || info.Up != tt.up || reply != tt.up {
			t.Errorf("problem %q, refused %v, up %v, reply %v, want %q, %v, %v", info.Problem, info.Refused, info.Up, reply, tt.problem, tt.refused, tt.up)
		}
		if later := r.Edge(0, now.Add(DownAfter)); later.Refused || tt.refused && later.Problem != "" {
			t.Errorf("silent for %v: problem %q, refused %v, want it only down", DownAfter, later.Problem, later.Refused)
		}
		reported := slices.ContainsFunc(events, func(e Event) bool { return e.Kind == Mismatch && e.Text == tt.problem })
		if reported != (tt.problem != "") {
			t.Errorf("problem %q: events %+v", tt.problem, events)
		}
	}
}

// TestDelayNeedsOneTopology: a record is delayed in a triangle only while both neighbours
// show our own topology.
func TestDelayNeedsOneTopology(t *testing.T) {
	for name, change := range map[string]func(r *Replica){
		"the sender has another topology":   func(r *Replica) { r.edges[toB].heartbeat.Topology = 8 },
		"the receiver has another topology": func(r *Replica) { r.edges[toD].heartbeat.Topology = 8 },
		"the sender is down":                func(r *Replica) { r.goDown(toB, "") },
		"ours has changed": func(r *Replica) {
			t := r.topology
			t.Hash = 8
			r.SetTopology(t, time.Unix(60, 0))
		},
	} {
		r := newTriangle()
		change(r)
		receive(t, r, toB, fromB)
		if got := flush(r, toD); got != fromB {
			t.Errorf("%s: sent to D at once %q, want %q", name, got, fromB)
		}
	}
}

// TestEventsAreLimited: a neighbour that changes its epoch with each heartbeat does not
// cause events without end, and what was left out is counted.
func TestEventsAreLimited(t *testing.T) {
	r := newReplica(0)
	now := time.Unix(1000, 0)
	total := 0
	for i := range uint64(300) { // ten seconds, of a neighbour that is not put into quarantine
		now = now.Add(time.Second / 30)
		events, _ := r.HandleHeartbeat(0, heartbeatOf(theirEpoch+i, 0), now)
		if i%30 == 0 {
			events = append(events, r.Tick(now)...)
		}
		total += len(events)
	}
	if total < eventBurst || total > eventBurst+11 {
		t.Errorf("%d events in ten seconds, want %d and one a second", total, eventBurst)
	}
	now = now.Add(eventEvery)
	r.HandleHeartbeat(0, heartbeatOf(theirEpoch+299, 0), now)
	events := r.Tick(now)
	if len(events) != 1 || !strings.HasPrefix(events[0].Text, "B is up") || !strings.HasSuffix(events[0].Text, "events before it were left out") {
		t.Errorf("at rest: %+v, want the last event, with how many were left out", events)
	}
	now = now.Add(time.Minute)
	var all []Event
	for i := range eventBurst + 3 {
		all = append(all, Event{Kind: Up, Peer: "B", Text: fmt.Sprint(i)})
	}
	d := r.edges[0]
	if got := d.limited(all, now); len(got) != eventBurst {
		t.Errorf("%d of %d events at once, want %d", len(got), len(all), eventBurst)
	}
	if got := d.leftOut(now.Add(eventEvery)); len(got) != 1 || got[0].Text != "22; 2 events before it were left out" {
		t.Errorf("a second later %v, want the last event and the number of the two before it", got)
	}
	now = now.Add(time.Minute)
	if events, _ := r.HandleHeartbeat(0, heartbeatOf(theirEpoch+2000, 0), now); len(events) != 2 {
		t.Errorf("a minute later: %+v, want down and up", events)
	}
}
