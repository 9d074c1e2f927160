package replica

import (
	"fmt"
	"testing"
	"time"

	"herd/node/wire"
)

// TestLossUnderLoad: after a loss the maps are repaired in both directions, also if
// digests cannot help because the maps change all the time.
func TestLossUnderLoad(t *testing.T) {
	p := newRepairPair(t)
	mergeLine(t, p.a, "AT A +1.000000000 c0 +1+1 100")
	p.heartbeats()
	p.settle()                                         // the edge is synced
	mergeLine(t, p.a, "AT A +1.000000000 c1 +1+1 100") // B does not have it, and has seen no gap
	p.a.Lost(0, p.now)
	p.settle()
	if _, ok := p.b.Map().Get(nil, []byte("c1")); !ok || !p.a.InStep(0) {
		t.Errorf("B has c1: %v, A is in step: %v, want both", ok, p.a.InStep(0))
	}
}

// TestScheduledComparisons: maps are compared about every Config.Repair, also if they
// change all the time. A comparison by the neighbour does not make one of ours due.
func TestScheduledComparisons(t *testing.T) {
	p := newRepairPair(t)
	mergeLine(t, p.a, "AT A +1.000000000 c0 +1+1 100")
	p.heartbeats()
	p.settle()
	mergeLine(t, p.a, "AT A +1.000000000 c1 +1+1 100") // lost on its way to B
	began, compared := p.now, 0
	for p.now.Sub(began) < 3*p.b.cfg.Repair {
		p.now = p.now.Add(HeartbeatEvery)
		for _, r := range []*Replica{p.a, p.b} {
			mergeLine(t, r, fmt.Sprintf("AT A +1.000000000 c2 +1+1 %d", p.now.Unix()))
		}
		mergeLine(t, p.a, fmt.Sprintf("AT A +1.000000000 c3 +1+1 %d", p.now.Unix())) // B never has it yet
		before := p.bytes
		p.heartbeats()
		p.settle()
		if p.bytes > before {
			compared++
		}
		if _, ok := p.b.Map().Get(nil, []byte("c1")); !ok && p.now.Sub(began) > p.b.cfg.Repair*5/4+HeartbeatEvery {
			t.Fatal("B was not repaired in time")
		}
	}
	if compared > 8 { // two sides, and at least 22.5 s between comparisons
		t.Errorf("%d comparisons in %v, want at most 8", compared, p.now.Sub(began))
	}
}

// TestRepairEndsUnderLoad: repair ends, although under constant load the maps are never
// equal.
func TestRepairEndsUnderLoad(t *testing.T) {
	p := newRepairPair(t)
	p.load = 20
	mergeLine(t, p.a, "AT A +1.000000000 c0 +1+1 100")
	p.heartbeats()
	p.settle()
	p.a.Lost(0, p.now)
	p.settle()
	if !p.a.InStep(0) || !p.b.InStep(0) {
		t.Errorf("in step: A %v, B %v", p.a.InStep(0), p.b.InStep(0))
	}
}

// TestBackoff: comparisons that bring nothing become rare, while the neighbour does not
// repair its own map.
func TestBackoff(t *testing.T) {
	p := newRepairPair(t)
	p.heartbeats()
	mergeLine(t, p.a, "AT A +1.000000000 c0 +1+1 100")
	comparisons := 0
	for range 120 {
		p.now = p.now.Add(HeartbeatEvery)
		p.heartbeats()
		_, request, ok := p.a.NextRequest(p.now) // B never requests
		if ok {
			comparisons++
		}
		for request != nil {
			request = p.exchange(p.a, p.b, request)
		}
	}
	if comparisons < 3 || comparisons > 15 {
		t.Errorf("%d comparisons in two minutes, want 3 to 15", comparisons)
	}
}

// TestLossDuringComparison: messages that are lost during a comparison may have brought
// records of buckets that it has already covered. So it does not put the edge in step, and
// Merged stays before the gap until the next comparison has ended.
func TestLossDuringComparison(t *testing.T) {
	p := newRepairPair(t)
	mergeLine(t, p.a, "AT A +1.000000000 c1 +1+1 100")
	p.heartbeats()
	_, request, ok := p.b.NextRequest(p.now)
	if !ok {
		t.Fatal("no request")
	}
	p.b.Frame(0, wire.Mark{Epoch: 1, Seq: 1}, nil, p.now)
	p.b.Frame(0, wire.Mark{Epoch: 1, Seq: 5}, nil, p.now)
	p.b.Frame(0, wire.Mark{Epoch: 1, Seq: 6}, nil, p.now)
	for request != nil {
		request = p.exchange(p.b, p.a, request)
	}
	if got := p.b.Heartbeat(0, p.now).Merged; p.b.InStep(0) || got.Seq != 1 {
		t.Errorf("in step %v, merged %v, want not in step and number 1", p.b.InStep(0), got)
	}
	p.settle()
	if got := p.b.Heartbeat(0, p.now).Merged; !p.b.InStep(0) || got.Seq != 6 {
		t.Errorf("after the next comparison: in step %v, merged %v, want in step and number 6", p.b.InStep(0), got)
	}
}

// TestComparisonTimeout: a comparison without a reply is abandoned and tried again.
func TestComparisonTimeout(t *testing.T) {
	p := newRepairPair(t)
	mergeLine(t, p.a, "AT A +1.000000000 c1 +1+1 100")
	p.heartbeats()
	if _, _, ok := p.b.NextRequest(p.now); !ok {
		t.Fatal("no request")
	}
	if _, _, ok := p.b.NextRequest(p.now.Add(comparisonSilence / 2)); ok {
		t.Fatal("a second request while the first one is in flight")
	}
	p.now = p.now.Add(comparisonSilence)
	p.b.NextRequest(p.now)
	p.now = p.now.Add(firstBackoff)
	p.settle()
	if _, ok := p.b.Map().Get(nil, []byte("c1")); !ok {
		t.Error("the comparison was not tried again")
	}
}

// star is A with its neighbours, all up, in step with none, and its records.
func star(t *testing.T, now time.Time, neighbours ...string) *Replica {
	r := New(Config{Name: "A", Topology: topologyOf(7, neighbours...), Epoch: 1, Repair: 30 * time.Second})
	mergeLine(t, r, "AT A +1.000000000 c0 +1+1 100")
	for e := range neighbours {
		r.HandleHeartbeat(e, wire.Heartbeat{Epoch: 9, Format: wire.Format, Topology: 7, Digest: 5, Ready: true}, now)
	}
	return r
}

// begin begins the comparisons that are due and returns their IDs, by edge.
func begin(t *testing.T, r *Replica, now time.Time) map[int]uint64 {
	t.Helper()
	ids := map[int]uint64{}
	for e, request, ok := r.NextRequest(now); ok; e, request, ok = r.NextRequest(now) {
		m, err := wire.ParseSync(request)
		if err != nil {
			t.Fatal(err)
		}
		ids[e] = m.ID
	}
	return ids
}

// differing is a complete reply to RequestGroups: all buckets of group 0 differ.
func differing(id uint64) []byte {
	var digests [wire.Groups]uint64
	for i := range digests {
		digests[i] = 5
	}
	return wire.Sync{Kind: wire.ReplyBuckets, ID: id, Last: true, Body: wire.AppendGroup(nil, 0, &digests)}.Append(nil)
}

// TestRestartsAgain: a neighbour that restarts again and again, before its comparison ends,
// does not delay Ready for ever.
func TestRestartsAgain(t *testing.T) {
	start := time.Unix(1_700_000_000, 0)
	r := star(t, start, "B")
	for i := range 10 {
		now := start.Add(time.Duration(i) * HeartbeatEvery)
		r.HandleHeartbeat(0, wire.Heartbeat{Epoch: uint64(9 + i), Format: wire.Format, Topology: 7, Digest: 5, Ready: true}, now)
		begin(t, r, now)
		if r.Ready(now, start) {
			if i < fruitlessTries {
				t.Errorf("ready after %d restarts", i)
			}
			return
		}
	}
	t.Error("not ready after ten restarts")
}

// TestSuspendedDuringComparison: that nothing moved while this process was suspended is not
// held against the neighbour.
func TestSuspendedDuringComparison(t *testing.T) {
	for name, suspended := range map[string]bool{"running": false, "suspended": true} {
		now := time.Unix(1_700_000_000, 0)
		r := star(t, now, "B")
		r.Tick(now)
		begin(t, r, now)
		for range 5 {
			now = now.Add(HeartbeatEvery / 2)
			if !suspended {
				r.Tick(now)
			}
		}
		r.Tick(now)
		begin(t, r, now)
		if got, want := r.edges[0].sync.fruitless, map[bool]int{false: 1, true: 0}[suspended]; got != want {
			t.Errorf("%s: %d comparisons count as fruitless, want %d", name, got, want)
		}
	}
}

// TestComparisonsShareTheWork: comparisons with several neighbours run at the same time,
// and what one brings is not brought again by the others. All neighbours get what they do
// not have.
func TestComparisonsShareTheWork(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	names := []string{"B", "C", "D"}
	a := New(Config{Name: "A", Topology: topologyOf(0, names...), Epoch: 1, Repair: 30 * time.Second})
	mergeLine(t, a, "AT A +1.000000000 only +1+1 100")
	others := make([]*Replica, len(names))
	const records = 20_000
	for e, name := range names {
		others[e] = New(Config{Name: name, Topology: topologyOf(0, "A"), Epoch: uint64(e) + 2, Repair: 30 * time.Second})
		for i := range records {
			if i%100 != e { // each lacks a few
				mergeLine(t, others[e], fmt.Sprintf("AT B +1.000000000 client%d +34.068930-118.445127 100", i))
			}
		}
	}
	for e, o := range others {
		a.HandleHeartbeat(e, o.Heartbeat(0, now), now)
		o.HandleHeartbeat(0, a.Heartbeat(e, now), now)
	}
	type message struct {
		e    int
		data []byte
	}
	var requests []message
	for e, request, ok := a.NextRequest(now); ok; e, request, ok = a.NextRequest(now) {
		requests = append(requests, message{e, request})
	}
	if len(requests) != len(names) {
		t.Fatalf("%d comparisons begin, want %d", len(requests), len(names))
	}
	for len(requests) > 0 { // in turns
		m := requests[0]
		requests = requests[1:]
		reply, _, err := others[m.e].HandleRequest(0, m.data, now)
		if err != nil {
			t.Fatal(err)
		}
		for more := true; more; {
			var part []byte
			if part, more, err = reply.Next(); err != nil {
				t.Fatal(err)
			}
			result, err := a.HandleReply(m.e, part, now)
			if err != nil {
				t.Fatal(err)
			}
			if result.Request != nil {
				requests = append(requests, message{m.e, result.Request})
			}
		}
	}
	var lines uint64
	queued := 0
	for e := range names {
		lines += a.edges[e].counts.RepairLines
		queued += a.edges[e].queued()
		if !a.InStep(e) {
			t.Errorf("not in step with %s", names[e])
		}
	}
	if a.Map().Len() != records+1 {
		t.Errorf("A has %d records, want %d", a.Map().Len(), records+1)
	}
	if lines > records*5/4 {
		t.Errorf("%d lines for %d records, want each about once", lines, records)
	}
	if queued > records/4 {
		t.Errorf("%d records are queued for neighbours, want few: they have nearly all", queued)
	}
	for e, o := range others { // they ask back, or the flood brings it
		p := &pair{t: t, a: o, b: a, now: now}
		for _, request, ok := o.NextRequest(now); ok; _, request, ok = o.NextRequest(now) {
			for request != nil {
				reply, _, err := a.HandleRequest(e, request, now)
				request = nil
				if err != nil {
					t.Fatal(err)
				}
				for more := true; more; {
					var part []byte
					part, more, _ = reply.Next()
					reply.Sent()
					result, err := o.HandleReply(0, part, now)
					if err != nil {
						t.Fatal(err)
					}
					request = result.Request
				}
			}
		}
		for f := a.NextFrame(e, nil); f.Lines > 0; f = a.NextFrame(e, nil) {
			a.FrameDone(e, Sent)
			o.Frame(0, f.Mark, f.Data, p.now)
		}
		if o.Map().Digest() != a.Map().Digest() {
			t.Errorf("%s has %d records, which differ from A's %d", names[e], o.Map().Len(), a.Map().Len())
		}
	}
}

// TestReady: when a server gets ready (contract 6).
func TestReady(t *testing.T) {
	start := time.Unix(1_700_000_000, 0)
	heartbeat := func(ready bool, digest uint64) *wire.Heartbeat {
		return &wire.Heartbeat{Epoch: 9, Clock: wire.InstantOf(start), Format: wire.Format, Ready: ready, Digest: digest}
	}
	tests := []struct {
		name      string
		repair    time.Duration
		heartbeat *wire.Heartbeat
		after     time.Duration
		want      bool
	}{
		{"no heartbeat yet", time.Minute, nil, GreetingTimeout - 1, false},
		{"no heartbeat in time", time.Minute, nil, GreetingTimeout, true},
		{"repair off", 0, nil, 0, true},
		{"equal maps", time.Minute, heartbeat(false, 0), 0, true},
		{"unequal maps, neighbour ready", time.Minute, heartbeat(true, 5), time.Hour, false},
		{"unequal maps, neighbour not ready", time.Minute, heartbeat(false, 5), unreadyTimeout - 1, false},
		{"unequal maps, neighbour not ready for long", time.Minute, heartbeat(false, 5), unreadyTimeout, true},
	}
	for _, tt := range tests {
		r := New(Config{Name: "A", Topology: Topology{Neighbours: []string{"B"}}, Epoch: 1, Repair: tt.repair})
		if tt.heartbeat != nil {
			r.HandleHeartbeat(0, *tt.heartbeat, start)
		}
		if got := r.Ready(start.Add(tt.after), start); got != tt.want {
			t.Errorf("%s, after %v: Ready = %v, want %v", tt.name, tt.after, got, tt.want)
		}
	}
}
