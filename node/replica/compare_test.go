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
	p.now = p.now.Add(comparisonSilence)
	p.b.NextRequest(p.now) // abandons the comparison
	if _, err := p.b.HandleReply(0, late, p.now); err != nil {
		t.Fatal(err)
	}
	if _, ok := p.b.Map().Get(nil, []byte("c1")); !ok {
		t.Error("the lines of a late reply were not merged")
	}
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
