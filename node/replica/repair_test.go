package replica

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
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
	reply, _, err := replier.HandleRequest(0, request, p.now)
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
	reply, _, err := p.a.HandleRequest(0, request, p.now)
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

// TestEndlessReply: a neighbour whose replies do not end delays no comparison with others.
// Its own is given up, whatever it sends; the next tries become rare, and do not delay
// Ready.
func TestEndlessReply(t *testing.T) {
	known := []byte("AT A +1.000000000 c0 +1+1 100\n")
	for name, reply := range map[string]func(i int, id uint64) []byte{
		"silent":      func(int, uint64) []byte { return nil },
		"empty parts": func(_ int, id uint64) []byte { return wire.Sync{Kind: wire.ReplyLines, ID: id}.Append(nil) },
		"known lines": func(_ int, id uint64) []byte {
			return wire.Sync{Kind: wire.ReplyLines, ID: id, Body: known}.Append(nil)
		},
		"empty groups": func(_ int, id uint64) []byte { return wire.Sync{Kind: wire.ReplyBuckets, ID: id}.Append(nil) },
		"no progress":  func(_ int, id uint64) []byte { return wire.Sync{Kind: wire.ReplyLines, ID: id, Last: true}.Append(nil) },
		"groups again": func(_ int, id uint64) []byte { return differing(id) },
		"little by little": func(i int, id uint64) []byte {
			return wire.Sync{Kind: wire.ReplyLines, ID: id, Body: fmt.Appendf(nil, "AT B +1.000000000 x%d +1+1 100\n", i)}.Append(nil)
		},
	} {
		t.Run(name, func(t *testing.T) {
			start := time.Unix(1_700_000_000, 0)
			r := star(t, start, "B", "C")
			ids := begin(t, r, start)
			if len(ids) != 2 {
				t.Fatalf("%d comparisons begin, want one with each neighbour", len(ids))
			}
			for range 10 { // C's ends, whatever B does
				r.HandleReply(1, wire.Sync{Kind: wire.ReplyBuckets, ID: ids[1], Last: true}.Append(nil), start)
			}
			if !r.InStep(1) {
				t.Fatal("not in step with C")
			}
			groups := func(now time.Time) {
				if name != "empty groups" {
					r.HandleReply(0, differing(ids[0]), now)
				}
			}
			groups(start)
			began, ready := 1, time.Duration(0)
			const long = 10 * time.Minute
			for i := range int(long / (300 * time.Millisecond)) {
				now := start.Add(time.Duration(i) * 300 * time.Millisecond)
				for e, id := range begin(t, r, now) {
					if e == 0 {
						ids[0] = id
						began++
						groups(now)
					}
				}
				if m := reply(i, ids[0]); m != nil {
					r.HandleReply(0, m, now)
				}
				for e := range 2 {
					r.HandleHeartbeat(e, wire.Heartbeat{Epoch: 9, Format: wire.Format, Topology: 7, Digest: 5, Ready: true}, now)
				}
				if ready == 0 && r.Ready(now, start) {
					ready = now.Sub(start)
				}
			}
			limit := 7 * time.Second
			if name == "little by little" { // something moves: the bound is that of the whole comparison
				limit = 2*comparisonTime + 10*time.Second
			}
			if ready == 0 || ready > limit {
				t.Errorf("ready after %v, want at most %v", ready, limit)
			}
			if began < 4 || began > 40 {
				t.Errorf("%d comparisons in %v, want 4 to 40", began, long)
			}
			if r.InStep(0) {
				t.Error("in step with B")
			}
			if info := r.Edge(0, start); !strings.Contains(info.Problem, "B does not complete our comparisons") {
				t.Errorf("problem %q, want that comparisons are given up", info.Problem)
			}
		})
	}
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

// TestReplyTooLong: a comparison ends when the neighbour has sent more than our map can
// differ by.
func TestReplyTooLong(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	r := star(t, now, "B")
	id := begin(t, r, now)[0]
	r.HandleReply(0, differing(id), now)
	part := wire.Sync{Kind: wire.ReplyLines, ID: id, Body: bytes.Repeat([]byte("AT A +1.000000000 c0 +1+1 100\n"), 1000)}.Append(nil)
	parts := 0
	for ; r.Comparing(0); parts++ {
		if parts > 1000 {
			t.Fatalf("the comparison goes on after %d bytes", parts*len(part))
		}
		r.HandleReply(0, part, now)
	}
	if sent := parts * len(part); sent < replySize {
		t.Errorf("given up after %d bytes, want more than one full reply", sent)
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

// TestUnsendable: a record that the bus cannot carry delays no other. The comparison ends,
// the edge is in step, both ends can tell that a record is missing, comparisons become
// rare, and it is sent once the bus takes it.
func TestUnsendable(t *testing.T) {
	p := newRepairPair(t)
	p.a.SetMaxMessage(4096)
	p.b.SetMaxMessage(4096)
	for i := range 100 {
		mergeLine(t, p.a, fmt.Sprintf("AT A +1.000000000 c%d +1+1 100", i))
	}
	large := "AT A +1.000000000 " + strings.Repeat("x", 5000) + " +1+1 100"
	mergeLine(t, p.a, large)
	p.heartbeats()
	p.settle()
	if p.b.Map().Len() != 100 || !p.b.InStep(0) || !p.b.Ready(p.now.Add(time.Hour), p.now) {
		t.Errorf("B has %d of 100 records, in step %v", p.b.Map().Len(), p.b.InStep(0))
	}
	p.heartbeats()
	if a, b := p.a.Edge(0, p.now), p.b.Edge(0, p.now); a.Unsendable != 1 || b.TheirUnsendable != 1 || b.Unsendable != 0 {
		t.Errorf("A counts %d, B counts %d of A and %d of its own, want 1, 1 and 0", a.Unsendable, b.TheirUnsendable, b.Unsendable)
	}
	compared := p.b.edges[0].counts.Repairs
	for range 300 {
		p.now = p.now.Add(HeartbeatEvery)
		p.heartbeats()
		p.settle()
	}
	if n := p.b.edges[0].counts.Repairs - compared; n > 20 {
		t.Errorf("%d comparisons in five minutes, which bring nothing, want 20 at most", n)
	}
	p.a.SetMaxMessage(1 << 20)
	p.b.SetMaxMessage(1 << 20)
	if got := flush(p.a, 0); got != large+"\n" {
		t.Errorf("once the bus takes it %d bytes are sent, want the record", len(got))
	}
	if a := p.a.Edge(0, p.now); a.Unsendable != 0 || p.a.Withheld() != 0 {
		t.Errorf("A still counts %d records, and %d over all edges", a.Unsendable, p.a.Withheld())
	}
}

// TestUnsendableArrivesOtherwise: a record that the bus cannot carry does not count any more
// once the neighbour has it, or has sent a newer one.
func TestUnsendableArrivesOtherwise(t *testing.T) {
	large := "AT A +1.000000000 " + strings.Repeat("x", 5000) + " +1+1 100"
	for name, arrive := range map[string]func(p *pair){
		"equal maps":       func(p *pair) { mergeLine(t, p.b, large) },
		"newer from there": func(p *pair) { p.a.Frame(0, wire.Mark{}, []byte(large+"0\n"), p.now) },
		"a hash of it": func(p *pair) {
			mergeLine(t, p.b, large)
			hash := []uint64{xxhash.Sum64String(large)}
			request := wire.Sync{Kind: wire.RequestLines, Body: wire.AppendBucket(nil, store.BucketOf([]byte(large)), hash)}.Append(nil)
			reply, _, err := p.a.HandleRequest(0, request, p.now)
			if err != nil {
				t.Fatal(err)
			}
			reply.Next()
			if n := p.a.Withheld(); n != 0 {
				t.Errorf("%d records count after the neighbour has shown that it has them", n)
			}
		},
	} {
		p := newRepairPair(t)
		p.a.SetMaxMessage(4096)
		p.heartbeats()
		report(t, p.a, "IAMAT "+strings.Repeat("x", 5000)+" +1+1 100", 101)
		flush(p.a, 0)
		if p.a.Withheld() != 1 {
			t.Fatalf("%s: %d records count at the beginning, want 1", name, p.a.Withheld())
		}
		arrive(p)
		p.heartbeats()
		if n := p.a.Withheld(); n != 0 {
			t.Errorf("%s: %d records count", name, n)
		}
	}
}

// TestRepairedDuringComparison: while a comparison with C runs, one with B brings a record
// of a bucket that has been compared with C already, or is being compared. C gets it all
// the same.
func TestRepairedDuringComparison(t *testing.T) {
	const line = "AT B +1.000000000 kiwi +1+1 100"
	bucket := store.BucketOf([]byte(line))
	now := time.Unix(1_700_000_000, 0)
	t.Run("after C has shown that the group is equal", func(t *testing.T) {
		r := star(t, now, "B", "C")
		id := begin(t, r, now)[1]
		r.mergeReply(0, []byte(line), repaired)
		result, err := r.HandleReply(1, wire.Sync{Kind: wire.ReplyBuckets, ID: id, Last: true}.Append(nil), now)
		if err != nil {
			t.Fatal(err)
		}
		if r.edges[1].queued() == 0 && !bytes.Contains(result.Request, binary.BigEndian.AppendUint64(nil, xxhash.Sum64String(line))) {
			t.Errorf("the record is neither queued for C nor in the next request %q", result.Request)
		}
	})
	t.Run("after the bucket was requested", func(t *testing.T) {
		r := star(t, now, "B", "C")
		id := begin(t, r, now)[1]
		digests := [wire.Groups]uint64{}
		digests[bucket&0xff] = 5
		body := wire.AppendGroup(nil, byte(bucket>>8), &digests)
		result, err := r.HandleReply(1, wire.Sync{Kind: wire.ReplyBuckets, ID: id, Last: true, Body: body}.Append(nil), now)
		if err != nil || result.Request == nil {
			t.Fatal(result, err)
		}
		r.mergeReply(0, []byte(line), repaired)
		if r.edges[1].queued() != 1 {
			t.Error("the record is not queued for C")
		}
	})
}

// TestFitsIntoFrameOnly: a record that fits into a frame and not into a reply is sent in a
// frame.
func TestFitsIntoFrameOnly(t *testing.T) {
	p := newRepairPair(t)
	const line = "AT A +1.000000000 kiwi +1+1 100"
	p.a.SetMaxMessage(len(line) + 1)
	mergeLine(t, p.a, line)
	p.heartbeats()
	p.settle()
	if got := flush(p.a, 0); got != line+"\n" || p.a.Withheld() != 0 {
		t.Errorf("sent %q, withheld %d, want the record and 0", got, p.a.Withheld())
	}
}

// TestNeighbourWithoutRepair: a neighbour that has repair off is not compared with and does
// not delay Ready. Records that a repair with others brings are sent to it.
func TestNeighbourWithoutRepair(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	r := New(Config{Name: "A", Topology: topologyOf(7, "B", "C"), Epoch: 1, Repair: 30 * time.Second})
	off := wire.Heartbeat{Epoch: 9, Format: wire.Format, Topology: 7, Digest: 5, Ready: true, NoRepair: true}
	events, _ := r.HandleHeartbeat(0, off, now)
	if !slices.ContainsFunc(events, func(e Event) bool { return e.Kind == Mismatch && strings.Contains(e.Text, "B has repair off") }) {
		t.Errorf("events %+v, want a mismatch", events)
	}
	off.Epoch++
	if events, _ = r.HandleHeartbeat(0, off, now); slices.ContainsFunc(events, func(e Event) bool { return e.Kind == Mismatch }) {
		t.Errorf("events %+v, want no second mismatch", events)
	}
	if !r.Ready(now.Add(GreetingTimeout), now) {
		t.Error("not ready")
	}
	for range 200 {
		now = now.Add(HeartbeatEvery)
		r.HandleHeartbeat(0, off, now)
		r.Lost(0, now)
		if _, _, ok := r.NextRequest(now); ok {
			t.Fatal("a comparison with a neighbour that has repair off")
		}
	}
	const line = "AT C +1.000000000 c1 +1+1 100"
	r.mergeReply(1, []byte(line), repaired)
	if got := flush(r, 0); got != line+"\n" {
		t.Errorf("sent %q, want the record that a repair has brought", got)
	}
	if b := New(Config{Name: "B", Topology: topologyOf(7, "A")}).Heartbeat(0, now); !b.NoRepair {
		t.Error("with repair off a heartbeat does not say so")
	}
}

// TestFormerLife: with repair off, what waited for a neighbour is dropped when it comes
// back as another process, and sent when it comes back as the same.
func TestFormerLife(t *testing.T) {
	for name, tt := range map[string]struct {
		repair time.Duration
		epoch  uint64
		want   bool
	}{
		"same process":             {0, theirEpoch, true},
		"another process":          {0, theirEpoch + 1, false},
		"repair on, other process": {time.Minute, theirEpoch + 1, true},
	} {
		r := New(Config{Name: "A", Topology: topologyOf(7, "B"), Epoch: ourEpoch, Repair: tt.repair})
		now := time.Unix(1000, 0)
		r.HandleHeartbeat(0, heartbeatOf(theirEpoch, 0), now)
		now = now.Add(DownAfter)
		r.Tick(now)
		line := report(t, r, "IAMAT kiwi +1+1 100", 101)
		r.HandleHeartbeat(0, heartbeatOf(tt.epoch, 0), now)
		if got := flush(r, 0); (got == line+"\n") != tt.want {
			t.Errorf("%s: sent %q, want the record: %v", name, got, tt.want)
		}
		after := report(t, r, "IAMAT emu +1+1 100", 102)
		if got := flush(r, 0); got != after+"\n" {
			t.Errorf("%s: sent %q of what is reported later, want %q", name, got, after)
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
	reply, _, err := p.a.HandleRequest(0, request, p.now)
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

// TestPartOfReply: buckets that a reply of lines does not cover are requested again.
func TestPartOfReply(t *testing.T) {
	p := newRepairPair(t)
	lines := map[uint16]string{}
	for i := range 3 {
		line := fmt.Sprintf("AT B +1.000000000 kiwi%d +1+1 100", i)
		mergeLine(t, p.b, line)
		lines[store.BucketOf([]byte(line))] = line
	}
	p.heartbeats()
	_, request, _ := p.a.NextRequest(p.now)
	request = p.exchange(p.a, p.b, request)
	for left := len(lines); left > 0; left-- {
		m, err := wire.ParseSync(request)
		if err != nil || m.Kind != wire.RequestLines {
			t.Fatalf("with %d buckets left, the request is %q, %v", left, request, err)
		}
		var requested []uint16
		for rest := m.Body; len(rest) > 0; {
			var bucket uint16
			if bucket, _, rest, err = wire.NextBucket(rest, nil); err != nil {
				t.Fatal(err)
			}
			requested = append(requested, bucket)
		}
		if len(requested) != left {
			t.Fatalf("buckets %v are requested, want %d", requested, left)
		}
		part := wire.Sync{Kind: wire.ReplyLines, ID: m.ID, Last: true, Done: 1, Body: []byte(lines[requested[0]] + "\n")}
		result, err := p.a.HandleReply(0, part.Append(nil), p.now)
		if err != nil {
			t.Fatal(err)
		}
		request = result.Request
	}
	if p.a.Map().Digest() != p.b.Map().Digest() || !p.a.InStep(0) {
		t.Errorf("A holds %q, in step %v", sortedLines(p.a.Map()), p.a.InStep(0))
	}
}
