package replica

import (
	"strings"
	"testing"
	"time"

	"herd/node/store"
	"herd/node/wire"
)

// TestBelowFloorIsStale: below the floor a record is stale at every intake.
func TestBelowFloorIsStale(t *testing.T) {
	k := newKept(t, "B").begin()
	old := k.record("kiwi", testKeep+expiryGrace+2*time.Minute)
	young := k.record("emu", testKeep+expiryGrace/2)
	if got := k.frame(old); got.Stale != 1 {
		t.Errorf("a frame below the floor: %+v, want stale", got)
	}
	if got := k.r.Restore([]byte(old+"\n"), k.now); got.Stale != 1 {
		t.Errorf("a restore below the floor: %+v, want stale", got)
	}
	if got, err := k.r.mergeReply(0, []byte(old+"\n"), repaired); got.news != 0 || err != nil || got.oldBytes != len(old)+1 {
		t.Errorf("a repair below the floor: %+v, %v, want %d old bytes", got, err, len(old)+1)
	}
	k.expect("nothing was merged", false, 0, 0)
	if got := k.frame(young); got.News != 1 {
		t.Errorf("a frame above the floor: %+v, want news", got)
	}
	k.pass(time.Second)
	k.expect("an expired record above the floor", false, 0, 1)
}

// TestFloorFollows: the floor follows that of a neighbour with the same Config.Keep, but not beyond what is expired by our
// own clock.
func TestFloorFollows(t *testing.T) {
	k := newKept(t, "B").begin()
	k.report("kiwi")
	expired := func() int64 { return (k.now.Unix() - int64(testKeep/time.Second)) / wire.SlotSeconds }
	own := func() int64 { return (k.now.Unix() - int64((testKeep+expiryGrace)/time.Second)) / wire.SlotSeconds }
	for _, c := range []struct {
		what string
		keep time.Duration
		ours int64 // of B, more than our own
		want func() int64
	}{
		{"lower", testKeep, -5, own},
		{"a little higher", testKeep, 1, func() int64 { return own() + 1 }},
		{"lower again", testKeep, 0, func() int64 { return own() + 1 }},
		{"much higher", testKeep, 1000, expired},
	} {
		k.beat.Keep, k.beat.Floor = int64(c.keep/time.Second), own()+c.ours
		k.pass(2 * time.Second)
		if got := k.r.Expiry().Floor / wire.SlotSeconds; got != c.want() {
			t.Errorf("the neighbour's floor is %s: ours is %d, want %d", c.what, got, c.want())
		}
	}
	k.expect("whatever a neighbour says", true, 1, 1)
	other := newKept(t, "B")
	other.beat.Keep, other.beat.Floor = 60, 1<<31
	other.begin()
	if got := other.r.Expiry().Floor / wire.SlotSeconds; got != (other.now.Unix()-int64((testKeep+expiryGrace)/time.Second))/wire.SlotSeconds {
		t.Errorf("the neighbour has another Config.Keep: our floor is %d", got)
	}
}

// TestTheirFloor: what lies below a neighbour's floor is neither listed in a request nor sent, in frames or replies.
func TestTheirFloor(t *testing.T) {
	k := newKept(t, "B")
	old, young := k.record("kiwi", time.Hour), k.record("emu", time.Minute)
	mergeLine(t, k.r, old)
	mergeLine(t, k.r, young)
	k.beat.Digest = 1
	k.beat.Floor = k.now.Add(-30*time.Minute).Unix() / wire.SlotSeconds
	k.pass(time.Second)
	for id := range k.r.Map().End() {
		k.r.edges[0].enqueue(id)
	}
	if got := flush(k.r, 0); got != young+"\n" {
		t.Errorf("sent %q, want %q", got, young)
	}

	everything := wire.Sync{Kind: wire.RequestLines, ID: 1, Last: true, Floor: k.beat.Floor, Both: true}
	for _, line := range []string{old, young} {
		everything.Body = wire.AppendBucket(everything.Body, store.BucketOf([]byte(line)), nil)
	}
	a, _, err := k.r.HandleRequest(0, everything.Append(nil), k.now)
	if err != nil {
		t.Fatal(err)
	}
	message, _, _ := a.Next()
	if reply, err := wire.ParseSync(message); err != nil || string(reply.Body) != young+"\n" {
		t.Errorf("the reply to a request has %q, want %q", reply.Body, young)
	}

	_, request, ok := k.r.NextRequest(k.now)
	if !ok {
		t.Fatal("no comparison is due")
	}
	m, _ := wire.ParseSync(request)
	var buckets []byte
	empty := [wire.Groups]uint64{}
	for group := range wire.Groups {
		buckets = wire.AppendGroup(buckets, byte(group), &empty)
	}
	result, err := k.r.HandleReply(0, wire.Sync{Kind: wire.ReplyBuckets, ID: m.ID, Last: true, Body: buckets}.Append(nil), k.now)
	if err != nil || result.Request == nil {
		t.Fatalf("%v, %q", err, result.Request)
	}
	m, _ = wire.ParseSync(result.Request)
	listed := 0
	for body := m.Body; len(body) > 0; {
		var hashes []uint64
		if _, hashes, body, err = wire.NextBucket(body, nil); err != nil {
			t.Fatal(err)
		}
		listed += len(hashes)
	}
	if listed != 1 {
		t.Errorf("the request lists %d records, want the one above the neighbour's floor", listed)
	}
}

// TestRequestsCarryFloor: requests of repair carry our floor. While the floors differ, different digests start no comparison.
func TestRequestsCarryFloor(t *testing.T) {
	k := newKept(t, "B").begin()
	k.beat.Digest, k.beat.Floor = 1, k.r.Expiry().Floor/wire.SlotSeconds-1
	k.pass(10 * time.Second)
	if _, _, ok := k.r.NextRequest(k.now); ok {
		t.Error("a comparison has begun, while the floors differ")
	}
	k.beat.Floor++
	k.pass(2 * time.Second)
	_, request, ok := k.r.NextRequest(k.now)
	if m, err := wire.ParseSync(request); !ok || err != nil || m.Floor*wire.SlotSeconds != k.r.Expiry().Floor || m.Floor == 0 {
		t.Errorf("the request is %+v, %v, want floor %d", m, err, k.r.Expiry().Floor/wire.SlotSeconds)
	}
}

// TestOtherKeep: another HERD_KEEP is a mismatch that is reported once. Records flow.
func TestOtherKeep(t *testing.T) {
	for theirs, want := range map[int64]string{
		0:       "B has another HERD_KEEP: unset, ours is 10m0s",
		3600:    "B has another HERD_KEEP: 1h0m0s, ours is 10m0s",
		1 << 50: "B has another HERD_KEEP: more than 292 years, ours is 10m0s",
	} {
		k := newKept(t, "B")
		k.beat.Keep = theirs
		mismatches := 0
		for range 5 {
			k.now = k.now.Add(HeartbeatEvery)
			k.beat.Clock = wire.InstantOf(k.now)
			events, _ := k.r.HandleHeartbeat(0, k.beat, k.now)
			for _, e := range events {
				if e.Kind == Mismatch {
					if mismatches++; e.Text != want {
						t.Errorf("mismatch %q, want %q", e.Text, want)
					}
				}
			}
		}
		if info := k.r.Edge(0, k.now); mismatches != 1 || !info.Up || info.Refused || info.Problem != want {
			t.Errorf("HERD_KEEP of %d s: %d mismatches, edge %+v", theirs, mismatches, info)
		}
		line := k.report("kiwi")
		if got := flush(k.r, 0); got != line+"\n" {
			t.Errorf("HERD_KEEP of %d s: sent %q, want %q", theirs, got, line)
		}
		if got := k.frame(k.record("emu", 0)); got.News != 1 {
			t.Errorf("HERD_KEEP of %d s: received %+v, want news", theirs, got)
		}
	}
}

// TestOldLinesInReply: lines below our floor, which an earlier version of a neighbour sends, are no offence, however many.
func TestOldLinesInReply(t *testing.T) {
	k := newKept(t, "B").begin()
	k.beat.Digest, k.beat.Floor = 1, k.r.Expiry().Floor/wire.SlotSeconds
	k.pass(2 * time.Second)
	_, request, _ := k.r.NextRequest(k.now)
	m, err := wire.ParseSync(request)
	if err != nil {
		t.Fatal(err)
	}
	var buckets []byte
	theirs := [wire.Groups]uint64{1}
	for group := range wire.Groups {
		buckets = wire.AppendGroup(buckets, byte(group), &theirs)
	}
	if _, err := k.r.HandleReply(0, wire.Sync{Kind: wire.ReplyBuckets, ID: m.ID, Last: true, Body: buckets}.Append(nil), k.now); err != nil {
		t.Fatal(err)
	}
	old := k.record(strings.Repeat("x", 200_000), 2*testKeep) + "\n"
	for range int(k.r.allowance())/len(old) + 2 {
		if _, err := k.r.HandleReply(0, wire.Sync{Kind: wire.ReplyLines, ID: m.ID, Body: []byte(old)}.Append(nil), k.now); err != nil {
			t.Fatal(err)
		}
	}
	if offences := k.r.Edge(0, k.now).Offences; offences != 0 || k.r.Map().Len() != 0 {
		t.Errorf("%d offences and %d records, want none", offences, k.r.Map().Len())
	}
}
