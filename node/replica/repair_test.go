package replica

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/cespare/xxhash/v2"

	"herd/node/store"
	"herd/node/wire"
)

// pair is two replicas and the repair between them, without loss.
type pair struct {
	t     *testing.T
	a, b  *Replica
	now   time.Time
	bytes int // of all requests and replies
	load  int // reports to each side between any two messages
}

func newRepairPair(t *testing.T) *pair {
	return &pair{
		t:   t,
		a:   New(Config{Name: "A", Topology: Topology{Neighbours: []string{"B"}}, Epoch: 1, Repair: 30 * time.Second}),
		b:   New(Config{Name: "B", Topology: Topology{Neighbours: []string{"A"}}, Epoch: 2, Repair: 30 * time.Second}),
		now: time.Unix(1_700_000_000, 0),
	}
}

// mergeLine puts a record into a map without queueing it, as if it had come by a repair
// long ago.
func mergeLine(t testing.TB, r *Replica, line string) {
	t.Helper()
	r.store.Merge(mustParse(t, line))
}

// heartbeats sends a heartbeat in each direction.
func (p *pair) heartbeats() {
	p.a.HandleHeartbeat(0, p.b.Heartbeat(0, p.now), p.now)
	p.b.HandleHeartbeat(0, p.a.Heartbeat(0, p.now), p.now)
}

// settle runs all comparisons that are due, and counts their bytes.
func (p *pair) settle() {
	for rounds := 0; ; rounds++ {
		if rounds > 100 {
			p.t.Fatal("each comparison makes another one due, without end")
		}
		began := false
		for _, side := range [][2]*Replica{{p.a, p.b}, {p.b, p.a}} {
			_, request, ok := side[0].NextRequest(p.now)
			for began = began || ok; request != nil; {
				request = p.exchange(side[0], side[1], request)
			}
		}
		if !began {
			return
		}
	}
}

// exchange carries one request and its reply, and returns the next request.
func (p *pair) exchange(requester, replier *Replica, request []byte) (next []byte) {
	p.t.Helper()
	p.bytes += len(request)
	for i := range p.load {
		p.now = p.now.Add(time.Microsecond)
		mergeLine(p.t, p.a, fmt.Sprintf("AT A +1.000000000 a%d +1+1 %d.%09d", i, p.now.Unix(), p.now.Nanosecond()))
		mergeLine(p.t, p.b, fmt.Sprintf("AT B +1.000000000 b%d +1+1 %d.%09d", i, p.now.Unix(), p.now.Nanosecond()))
	}
	if request[0] == byte(wire.RequestLines) && len(request) > requester.frameSize() {
		p.t.Fatalf("a request of %d bytes, want at most %d", len(request), requester.frameSize())
	}
	reply, err := replier.HandleRequest(0, request, p.now)
	if err != nil {
		p.t.Fatal(err)
	}
	for more := true; more; {
		var message []byte
		if message, more, err = reply.Next(); err != nil {
			p.t.Fatal(err)
		}
		p.bytes += len(message)
		if message[0] == byte(wire.ReplyLines) && len(message) > replier.frameSize() {
			p.t.Fatalf("a message of %d bytes, want at most %d", len(message), replier.frameSize())
		}
		reply.Sent()
		result, err := requester.HandleReply(0, message, p.now)
		if err != nil {
			p.t.Fatal(err)
		}
		next = result.Request
	}
	return next
}

// TestRepairCost: the cost of a repair depends on the difference, not on the size of the
// map.
func TestRepairCost(t *testing.T) {
	const records = 1_000_000
	p := newRepairPair(t)
	for i := range records {
		line := fmt.Sprintf("AT A +1.000000000 client%d.example +34.068930-118.445127 1700000000", i)
		mergeLine(t, p.a, line)
		mergeLine(t, p.b, line)
	}
	for _, tt := range []struct{ missing, limit int }{{1, 64 << 10}, {1000, 3 << 20}} {
		for i := range tt.missing {
			mergeLine(t, p.a, fmt.Sprintf("AT A +1.000000000 client%d.example +34.068930-118.445127 17000%05d", i*(records/tt.missing), tt.missing))
		}
		p.a.goDown(0, "")
		p.b.goDown(0, "")
		p.bytes = 0
		p.heartbeats()
		p.settle()
		if p.a.Map().Digest() != p.b.Map().Digest() {
			t.Fatalf("%d missing: the maps still differ", tt.missing)
		}
		t.Logf("%d of %d missing: %d bytes in both directions", tt.missing, records, p.bytes)
		if p.bytes > tt.limit {
			t.Errorf("%d of %d missing cost %d bytes, want at most %d", tt.missing, records, p.bytes, tt.limit)
		}
	}
}

// TestRepairBothWays: after repair both sides hold the winners of all records, also if one
// of them was empty, and both are in step. Equal maps cost no bytes.
func TestRepairBothWays(t *testing.T) {
	line := func(client, second int) string {
		return fmt.Sprintf("AT A +1.000000000 c%d +1+1 %d", client, 100+second)
	}
	for _, tt := range []struct {
		name string
		a, b []string
	}{
		{"one has nothing", []string{line(1, 0), line(2, 0)}, nil},
		{"the other has nothing", nil, []string{line(1, 0), line(2, 0)}},
		{"each has one more", []string{line(1, 0), line(2, 0)}, []string{line(2, 0), line(3, 0)}},
		{"each has one newer", []string{line(1, 1), line(2, 0)}, []string{line(1, 0), line(2, 1)}},
		{"equal", []string{line(1, 0)}, []string{line(1, 0)}},
		{"both empty", nil, nil},
	} {
		p := newRepairPair(t)
		var want store.Map
		for _, l := range slices.Concat(tt.a, tt.b) {
			want.Merge(mustParse(t, l))
		}
		for _, l := range tt.a {
			mergeLine(t, p.a, l)
		}
		for _, l := range tt.b {
			mergeLine(t, p.b, l)
		}
		p.heartbeats()
		p.settle()
		for _, r := range []*Replica{p.a, p.b} {
			if got := sortedLines(r.Map()); !slices.Equal(got, sortedLines(&want)) || !r.InStep(0) {
				t.Errorf("%s: %s holds %q, in step %v, want %q", tt.name, r.cfg.Name, got, r.InStep(0), sortedLines(&want))
			}
		}
		if slices.Equal(tt.a, tt.b) && p.bytes > 0 {
			t.Errorf("%s: %d bytes of repair, want none", tt.name, p.bytes)
		}
		if p.a.Map().Digest() != want.Digest() {
			t.Errorf("%s: digest %x, want %x as of the same records merged in another order", tt.name, p.a.Map().Digest(), want.Digest())
		}
	}
}

// TestManyClientsInOneBucket: many clients in one bucket make its repair more expensive,
// but the maps become equal all the same.
func TestManyClientsInOneBucket(t *testing.T) {
	p := newRepairPair(t)
	clients := 0
	for i := 0; clients < 600; i++ {
		client := fmt.Sprintf("c%d", i)
		if xxhash.Sum64String(client)>>52 != 7 { // one of 16 buckets, so that the search is short
			continue
		}
		clients++
		line := fmt.Sprintf("AT A +1.000000000 %s +1+1 100", client)
		mergeLine(t, p.a, line)
		if clients%2 == 0 {
			mergeLine(t, p.b, line)
		}
	}
	p.a.SetMaxMessage(256) // a request of this size cannot hold the hashes of one bucket
	p.b.SetMaxMessage(256)
	p.heartbeats()
	p.settle()
	if p.a.Map().Digest() != p.b.Map().Digest() || p.b.Map().Len() != clients {
		t.Errorf("B holds %d of %d clients, or the digests differ", p.b.Map().Len(), clients)
	}
}

// TestUnequalDigests: if the digests stay different while neither map changes, the maps
// are compared. While a map changes, they are not.
func TestUnequalDigests(t *testing.T) {
	p := newRepairPair(t)
	p.heartbeats()
	mergeLine(t, p.a, "AT A +1.000000000 c1 +1+1 100") // as if its frame had been lost without a gap
	for range 2 {
		p.now = p.now.Add(HeartbeatEvery)
		mergeLine(t, p.a, fmt.Sprintf("AT A +1.000000000 c2 +1+1 %d", p.now.Unix()))
		p.heartbeats()
		p.settle()
		if p.bytes > 0 {
			t.Fatal("a comparison ran while the maps changed")
		}
	}
	p.now = p.now.Add(HeartbeatEvery)
	p.heartbeats()
	p.settle()
	if p.a.Map().Digest() != p.b.Map().Digest() {
		t.Error("the digests still differ")
	}
}

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

// TestRepairedRecordReachesOthers: B is not in step when a repair with C brings a record.
// B gets the record all the same: by the flood, or by the comparison that is due.
func TestRepairedRecordReachesOthers(t *testing.T) {
	const line = "AT C +1.000000000 c1 +1+1 100"
	for name, bring := range map[string]func(a *Replica){
		"repair": func(a *Replica) { a.mergeReply(1, []byte(line), repaired) },
		"late reply": func(a *Replica) {
			a.HandleReply(1, wire.Sync{Kind: wire.ReplyLines, ID: 99, Body: []byte(line)}.Append(nil), time.Time{})
		},
	} {
		t.Run(name, func(t *testing.T) {
			p := newRepairPair(t)
			p.a = New(Config{Name: "A", Topology: Topology{Neighbours: []string{"B", "C"}}, Epoch: 1, Repair: 30 * time.Second})
			for _, r := range []*Replica{p.a, p.b} { // an empty map would request in any case
				mergeLine(t, r, "AT C +1.000000000 c0 +1+1 100")
			}
			p.heartbeats()
			p.settle()
			p.a.Lost(0, p.now)
			_, request, ok := p.a.NextRequest(p.now)
			if !ok {
				t.Fatal("no request")
			}
			p.a.Lost(0, p.now)
			for request != nil {
				request = p.exchange(p.a, p.b, request)
			}
			if p.a.InStep(0) {
				t.Fatal("in step, although messages were lost meanwhile")
			}
			bring(p.a)
			p.settle()
			f := p.a.NextFrame(0, nil)
			if _, ok := p.b.Map().Get(nil, []byte("c1")); !ok && f.Lines == 0 {
				t.Error("B does not have the record, and it is not queued for B")
			}
		})
	}
}

// TestLateReply: the lines of a reply are merged although its comparison was abandoned:
// the sender no longer has them queued.
func TestLateReply(t *testing.T) {
	p := newRepairPair(t)
	mergeLine(t, p.a, "AT A +1.000000000 c1 +1+1 100")
	p.heartbeats()
	_, request, _ := p.b.NextRequest(p.now)
	request = p.exchange(p.b, p.a, request)
	reply, err := p.a.HandleRequest(0, request, p.now)
	if err != nil {
		t.Fatal(err)
	}
	late, _, err := reply.Next()
	if err != nil {
		t.Fatal(err)
	}
	p.now = p.now.Add(silence)
	p.b.NextRequest(p.now) // abandons the comparison
	if _, err := p.b.HandleReply(0, late, p.now); err != nil {
		t.Fatal(err)
	}
	if _, ok := p.b.Map().Get(nil, []byte("c1")); !ok {
		t.Error("the lines of a late reply were not merged")
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
	if _, _, ok := p.b.NextRequest(p.now.Add(silence / 2)); ok {
		t.Fatal("a second request while the first one is in flight")
	}
	p.now = p.now.Add(silence)
	p.b.NextRequest(p.now)
	p.now = p.now.Add(firstBackoff)
	p.settle()
	if _, ok := p.b.Map().Get(nil, []byte("c1")); !ok {
		t.Error("the comparison was not tried again")
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

// TestReplyKeepsRecordsQueued: a record in a reply stays queued until the message was
// sent. If it has changed by then, it stays queued after that too.
func TestReplyKeepsRecordsQueued(t *testing.T) {
	p := newRepairPair(t)
	p.a.HandleHeartbeat(0, p.b.Heartbeat(0, p.now), p.now)
	report(t, p.a, "IAMAT kiwi +1+1 100", 101)
	report(t, p.a, "IAMAT emu +1+1 100", 101)
	p.b.HandleHeartbeat(0, p.a.Heartbeat(0, p.now), p.now)
	_, request, _ := p.b.NextRequest(p.now)
	request = p.exchange(p.b, p.a, request)
	reply, err := p.a.HandleRequest(0, request, p.now)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := reply.Next(); err != nil {
		t.Fatal(err)
	}
	if n := p.a.edges[0].live.length; n != 2 {
		t.Errorf("%d records are queued before the reply was sent, want 2", n)
	}
	newer := report(t, p.a, "IAMAT kiwi +1+1 102", 103)
	reply.Sent()
	if got := flush(p.a, 0); got != newer+"\n" {
		t.Errorf("queued after the reply was sent: %q, want %q", got, newer+"\n")
	}
}
