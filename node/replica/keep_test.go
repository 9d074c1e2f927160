package replica

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"herd/node/follow"
	"herd/node/store"
	"herd/node/wire"
)

const testKeep = 10 * time.Minute

// kept is A, whose records expire, with the neighbour B, or with none.
type kept struct {
	t       *testing.T
	r       *Replica
	now     time.Time
	off     time.Duration  // by which A's clock is ahead
	beat    wire.Heartbeat // of B
	silent  bool           // B sends none
	skew    time.Duration  // by which B's clock is ahead
	reports []string       // of the clock, in events
	frames  uint64         // that B has sent
}

func newKept(t *testing.T, peers ...string) *kept {
	k := &kept{t: t, now: time.Unix(1_700_000_040, 0)} // a slot begins
	k.r = New(Config{
		Name: "A", Topology: Topology{Neighbours: peers, Hash: 7}, Epoch: ourEpoch, Keep: testKeep, Repair: 30 * time.Second, Journal: true,
		Wall: func(now time.Time) wire.Instant { return wire.InstantOf(now.Add(k.off)) },
	})
	k.beat = heartbeatOf(theirEpoch, 0)
	k.beat.NoRepair, k.beat.Keep = false, int64(testKeep/time.Second)
	k.silent = len(peers) == 0
	return k
}

// begin lets A get ready and trust its clock.
func (k *kept) begin() *kept {
	k.r.BeginExpiry(k.now)
	k.pass(5 * time.Second)
	if why := k.r.ExpiryPaused(); why != "" {
		k.t.Fatalf("paused at the start: %s", why)
	}
	return k
}

// pass lets time pass, with ticks, heartbeats and all work of expiry. The journal takes everything.
func (k *kept) pass(d time.Duration) {
	for end := k.now.Add(d); k.now.Before(end); {
		k.now = k.now.Add(min(HeartbeatEvery, end.Sub(k.now)))
		if !k.silent {
			k.beat.Clock, k.beat.Seq = wire.InstantOf(k.now.Add(k.skew)), k.frames
			events, _ := k.r.HandleHeartbeat(0, k.beat, k.now)
			k.note(events)
		}
		k.note(k.r.Tick(k.now))
		for k.r.Expire(7) {
		}
		k.r.NextJournalLines(nil, 1<<20)
		k.r.JournalDone(true)
	}
}

func (k *kept) note(events []Event) {
	for _, e := range events {
		if strings.Contains(e.Text, "expire") {
			k.reports = append(k.reports, e.Text)
		}
	}
}

// report makes a client report, now.
func (k *kept) report(client string) (line string) {
	k.t.Helper()
	return report(k.t, k.r, fmt.Sprintf("IAMAT %s +1+1 %d", client, k.now.Unix()), k.now.Unix())
}

// frame merges a record from B.
func (k *kept) frame(line string) FrameResult {
	k.frames++
	result, _ := k.r.Frame(0, wire.Mark{Epoch: theirEpoch, Seq: k.frames}, []byte(line), k.now)
	return result
}

// record is a record of B of some age.
func (k *kept) record(client string, age time.Duration) string {
	return fmt.Sprintf("AT B +0.000000000 %s +1+1 %d", client, k.now.Add(-age).Unix())
}

func (k *kept) knows(client string) bool {
	_, known := k.r.Record(nil, []byte(client), k.now)
	return known
}

func (k *kept) expect(when string, known bool, counted, held int) {
	k.t.Helper()
	if got := k.knows("kiwi"); got != known || k.r.Map().Known() != counted || k.r.Map().Len() != held {
		k.t.Errorf("%s: kiwi is known: %v, %d clients are counted, %d records held; want %v, %d, %d", when, got, k.r.Map().Known(), k.r.Map().Len(), known, counted, held)
	}
}

// TestExpiry: a client is unknown once its time has passed, to the second; its record leaves the map two minutes after
// the last of its slot. A later report makes it known.
func TestExpiry(t *testing.T) {
	k := newKept(t).begin()
	k.pass(25 * time.Second) // half a slot
	k.report("kiwi")
	k.pass(testKeep - time.Second)
	k.expect("a second before its time", true, 1, 1)
	k.now = k.now.Add(999 * time.Millisecond)
	if !k.knows("kiwi") {
		t.Error("unknown a millisecond before its time")
	}
	k.now = k.now.Add(time.Millisecond)
	if k.knows("kiwi") {
		t.Error("known when its time has passed")
	}
	k.pass(2 * time.Second)
	k.expect("after its time", false, 0, 1)
	k.pass(expiryGrace)
	k.expect("two minutes later", false, 0, 1)
	k.pass(30 * time.Second)
	k.expect("two minutes after its slot", false, 0, 0)
	if info := k.r.Expiry(); info.Expired != 1 || info.Removed != 1 || info.Waiting != 0 {
		t.Errorf("%+v, want one record that has expired and was removed", info)
	}

	k.report("kiwi")
	k.pass(testKeep / 2)
	k.report("kiwi")
	k.pass(testKeep - time.Second)
	k.expect("after another report", true, 1, 1)
	k.pass(3 * time.Second)
	k.expect("after its time", false, 0, 1)
	k.report("kiwi")
	k.expect("reported again", true, 1, 1)
	k.pass(testKeep - time.Second)
	k.expect("a second before its time", true, 1, 1)
	k.pass(testKeep)
	k.expect("at last", false, 0, 0)
	if ids := k.r.Map().End(); ids != 1 {
		t.Errorf("%d IDs were used, want one again and again", ids)
	}
}

// TestTombstonesExpire: tombstones leave the map like records. A client whose record is expired cannot be forgotten: it is
// unknown.
func TestTombstonesExpire(t *testing.T) {
	k := newKept(t).begin()
	k.report("kiwi")
	if _, err := k.r.Forget(nil, []byte("kiwi"), k.now); err != nil {
		t.Fatal(err)
	}
	k.report("emu")
	k.pass(testKeep + time.Second)
	if _, err := k.r.Forget(nil, []byte("emu"), k.now); err != ErrUnknown {
		t.Errorf("forgetting an expired client: %v, want %v", err, ErrUnknown)
	}
	k.pass(2 * time.Second)
	k.expect("expired", false, 0, 2)
	k.pass(expiryGrace + time.Minute)
	k.expect("removed", false, 0, 0)
}

// TestWithoutKeep: without Config.Keep nothing expires, and heartbeats say nothing of it.
func TestWithoutKeep(t *testing.T) {
	r := newConnected(0)
	report(t, r, "IAMAT kiwi +1+1 50", 51)
	now := time.Unix(1_700_000_000, 0)
	r.BeginExpiry(now)
	for range 10 {
		now = now.Add(time.Hour)
		r.Tick(now)
		if r.Expire(100) {
			t.Fatal("there is something to expire")
		}
	}
	if _, known := r.Record(nil, []byte("kiwi"), now); !known {
		t.Error("the client is unknown")
	}
	if b := r.Heartbeat(0, now); b.Keep != 0 || b.Floor != 0 {
		t.Errorf("the heartbeat has %d and %d", b.Keep, b.Floor)
	}
}

// TestFutureReceipt: a receipt in the future expires Config.Keep after it.
func TestFutureReceipt(t *testing.T) {
	k := newKept(t, "B").begin()
	k.frame(fmt.Sprintf("AT B +3600.000000000 kiwi +1+1 %d", k.now.Unix()))
	k.pass(testKeep + time.Hour - 5*time.Second)
	k.expect("before its time", true, 1, 1)
	k.pass(10 * time.Second)
	k.expect("after its time", false, 0, 1)
}

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

// TestEarlierReceiptWins: a record that replaces one with a later receipt expires by its own.
func TestEarlierReceiptWins(t *testing.T) {
	k := newKept(t, "B").begin()
	k.report("emu")
	k.frame(fmt.Sprintf("AT B +1000.000000000 kiwi +1+1 %d", k.now.Unix()-1000)) // received now, for an old time
	k.frame(fmt.Sprintf("AT B -1.000000000 kiwi +1+1 %d", k.now.Unix()-499))     // received 500 s ago
	k.pass(testKeep - 501*time.Second)
	k.expect("before its time", true, 2, 2)
	k.pass(3 * time.Second)
	k.expect("after its time", false, 1, 2)
	k.pass(expiryGrace + time.Minute)
	k.expect("removed", false, 1, 1)
	k.report("kea") // it must not get the ID, which is still filed
	if k.r.Map().End() != 3 {
		t.Errorf("%d IDs, want 3", k.r.Map().End())
	}
	k.pass(testKeep + expiryGrace + time.Minute)
	k.expect("all removed", false, 0, 0)
	for i := range 3 {
		k.report(fmt.Sprint("moa", i))
	}
	if k.r.Map().End() != 3 {
		t.Errorf("%d IDs, want the 3 from before", k.r.Map().End())
	}
}

// TestReplayedRecordsExpire: what a journal brings expires when the server is ready, not before.
func TestReplayedRecordsExpire(t *testing.T) {
	k := newKept(t, "B")
	k.r.Replay([]byte(k.record("kiwi", testKeep+time.Hour) + "\n" + k.record("emu", testKeep/2)))
	k.pass(20 * time.Second)
	k.expect("not ready", true, 2, 2)
	if b := k.r.Heartbeat(0, k.now); b.Floor != 0 || b.Keep != 600 {
		t.Errorf("the heartbeat has floor %d and keep %d, want 0 and 600", b.Floor, b.Keep)
	}
	k.begin()
	k.expect("ready", false, 1, 1)
	if b := k.r.Heartbeat(0, k.now); b.Floor*wire.SlotSeconds != k.r.Expiry().Floor || b.Floor == 0 {
		t.Errorf("the heartbeat has floor %d, want %d", b.Floor, k.r.Expiry().Floor/wire.SlotSeconds)
	}
	if len(k.reports) > 0 {
		t.Errorf("reported %q, want nothing", k.reports)
	}
}

// TestExpiryPauses: nothing expires while our clock may be wrong.
func TestExpiryPauses(t *testing.T) {
	type step struct {
		what string
		do   func(*kept)
		why  string // part of ExpiryPaused; "" for none
	}
	wait := func(d time.Duration) func(*kept) { return func(k *kept) { k.pass(d) } }
	jump := func(by time.Duration) func(*kept) {
		return func(k *kept) { k.off += by; k.pass(time.Second) }
	}
	for name, c := range map[string]struct {
		peers []string
		steps []step
	}{
		"start with a neighbour": {[]string{"B"}, []step{
			{"not ready", wait(time.Minute), "not ready"},
			{"ready", func(k *kept) { k.r.BeginExpiry(k.now) }, ""},
		}},
		"start with a neighbour that differs": {[]string{"B"}, []step{
			{"ready", func(k *kept) { k.skew = time.Minute; k.r.BeginExpiry(k.now); k.pass(time.Minute) }, "agrees with no neighbour's yet"},
			{"two heartbeats agree", func(k *kept) { k.skew = 0; k.pass(2 * time.Second) }, "agrees with no neighbour's yet"},
			{"three heartbeats agree", wait(time.Second), ""},
		}},
		"start without the neighbour": {[]string{"B"}, []step{
			{"ready", func(k *kept) { k.silent = true; k.r.BeginExpiry(k.now); k.pass(clockAlone - time.Second) }, "agrees with no neighbour's yet"},
			{"alone", wait(2 * time.Second), ""},
		}},
		"jump": {[]string{"B"}, []step{
			{"ready", func(k *kept) { k.begin() }, ""},
			{"a small jump", jump(29 * time.Second), ""},
			{"a jump", func(k *kept) { k.skew = time.Hour; jump(time.Hour)(k) }, "has jumped"},
			{"two heartbeats", wait(2 * time.Second), "has jumped"},
			{"the neighbour restarts", func(k *kept) { k.beat.Epoch++; k.pass(2 * time.Second) }, "has jumped"},
			{"after some time without heartbeats", func(k *kept) { k.silent = true; k.pass(time.Minute) }, "has jumped"},
			{"three heartbeats", func(k *kept) { k.silent = false; k.pass(3 * time.Second) }, ""},
		}},
		"jump back": {[]string{"B"}, []step{
			{"ready", func(k *kept) { k.begin() }, ""},
			{"a jump", func(k *kept) { k.skew = -time.Hour; jump(-time.Hour)(k) }, "has jumped"},
			{"three heartbeats", wait(3 * time.Second), ""},
		}},
		"jump of a herd of one": {nil, []step{
			{"ready", func(k *kept) { k.begin() }, ""},
			{"a jump", jump(time.Hour), "has jumped"},
			{"for as long as records are kept", wait(testKeep - time.Second), "has jumped"},
			{"after that", wait(time.Second), ""},
		}},
		"clock off": {[]string{"B", "C"}, []step{
			{"ready", func(k *kept) { k.begin() }, ""},
			{"both neighbours' clocks move", func(k *kept) {
				k.skew = time.Hour
				for range 5 {
					k.pass(time.Second)
					k.r.HandleHeartbeat(1, k.beat, k.now)
				}
				k.note(k.r.Tick(k.now))
			}, "is off"},
		}},
	} {
		k := newKept(t, c.peers...)
		for _, s := range c.steps {
			s.do(k)
			if why := k.r.ExpiryPaused(); (why == "") != (s.why == "") || !strings.Contains(why, s.why) {
				t.Errorf("%s: %s: paused because %q, want %q", name, s.what, why, s.why)
			}
		}
	}
}

// TestNothingExpiresWhilePaused: a jump of the clock makes no client unknown, not even before the next tick, and is reported
// once.
func TestNothingExpiresWhilePaused(t *testing.T) {
	k := newKept(t, "B").begin()
	k.report("kiwi")
	k.off = 24 * time.Hour
	k.expect("after the jump", true, 1, 1)
	k.pass(time.Minute)
	k.expect("a minute later", true, 1, 1)
	k.off = 0
	k.pass(5 * time.Second)
	k.expect("the clock is right", true, 1, 1)
	if want := []string{"records do not expire: the clock of A, ours, has jumped, and agrees with no neighbour's since", "records expire again"}; !slices.Equal(k.reports, want) {
		t.Errorf("reported %q, want %q", k.reports, want)
	}
	k.pass(testKeep)
	k.expect("after its time", false, 0, 1)
}

// TestClockThatWasTrusted: a server whose clock was wrong without anybody to tell takes records again once it is right.
func TestClockThatWasTrusted(t *testing.T) {
	k := newKept(t, "B")
	k.off, k.silent = 24*time.Hour, true
	k.r.BeginExpiry(k.now)
	k.pass(time.Minute)
	k.frame(k.record("kiwi", 0))
	k.expect("its clock is wrong", false, 0, 0)
	k.off, k.silent = 0, false
	k.pass(5 * time.Second)
	k.frame(k.record("kiwi", 0))
	k.expect("its clock is right", true, 1, 1)
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

// TestSmallSlices: Expire does no more than it is told, whatever there is to do.
func TestSmallSlices(t *testing.T) {
	k := newKept(t).begin()
	const clients = 2000
	for i := range clients {
		k.report(fmt.Sprint("c", i))
	}
	k.now = k.now.Add(2 * testKeep)
	k.r.Tick(k.now)
	parts := 0
	for more := true; more; parts++ {
		known, held := k.r.Map().Known(), k.r.Map().Len()
		more = k.r.Expire(50)
		if marked, removed := known-k.r.Map().Known(), held-k.r.Map().Len(); marked+removed > 50 {
			t.Fatalf("%d records were marked and %d removed at a time, want 50 in all", marked, removed)
		}
	}
	if k.r.Map().Len() != 0 || parts < 2*clients/50 {
		t.Errorf("%d records left after %d parts", k.r.Map().Len(), parts)
	}
}

// TestQueuesForgetRemoved: a record that is removed is in no queue any more, and what is in flight does not bring it, or the next
// client of its ID, into one.
func TestQueuesForgetRemoved(t *testing.T) {
	k := newKept(t, "B").begin()
	k.r.TrackChanges(true)
	k.report("kiwi")
	k.r.NextJournalLines(nil, 1<<20)
	if f := k.r.NextFrame(0, nil); f.Lines != 1 {
		t.Fatalf("%d lines, want 1", f.Lines)
	}
	expire := func(d time.Duration) {
		k.now = k.now.Add(d)
		k.beat.Clock = wire.InstantOf(k.now)
		k.r.HandleHeartbeat(0, k.beat, k.now)
		k.r.Tick(k.now)
		for k.r.Expire(100) {
		}
	}
	expire(testKeep + expiryGrace + 2*time.Minute)
	if k.r.Map().Len() != 0 {
		t.Fatal("not removed")
	}
	k.report("emu")
	if k.r.Map().End() != 2 {
		t.Error("the ID was used again while the index of places has to forget it")
	}
	if got := k.r.TakeChanged(nil, 10); len(got) != 2 {
		t.Errorf("%d clients have changed, want 2", len(got))
	}
	expire(time.Second)
	line := k.report("kea")
	if k.r.Map().End() != 2 {
		t.Error("the ID was not used again")
	}
	k.r.FrameDone(0, NotSent)
	k.r.JournalDone(false)
	if got := k.r.Edge(0, k.now).Queued; got != 2 {
		t.Errorf("%d records are queued for B, want those of emu and kea", got)
	}
	if got := flush(k.r, 0); strings.Contains(got, "kiwi") || !strings.Contains(got, line) {
		t.Errorf("sent %q, want %q and no record of kiwi", got, line)
	}
	lines, _ := k.r.NextJournalLines(nil, 1<<20)
	if got := string(lines); strings.Contains(got, "kiwi") || strings.Count(got, "kea") != 1 || strings.Count(got, "emu") != 1 {
		t.Errorf("to the journal %q, want one record of emu and of kea", got)
	}
}

// TestFollowerOfExpired: a follower learns that a client is unknown when its time has passed. If it has not been told when the
// record is removed, its stream ends. A dump and a snapshot leave out what is expired.
func TestFollowerOfExpired(t *testing.T) {
	k := newKept(t).begin()
	open := func(id string, dump bool) {
		t.Helper()
		request, _ := follow.Parse([]byte("{}"))
		if err := k.r.OpenStream(StreamConfig{ID: id, Filter: follow.NewFilter(request), Dump: dump}, k.now); err != nil {
			t.Fatal(err)
		}
	}
	receive := func() (data string) {
		for f, _ := k.r.NextStreamFrame(nil, k.now); f.Mark != (wire.Mark{}); f, _ = k.r.NextStreamFrame(nil, k.now) {
			data += string(f.Data)
		}
		return data
	}
	line := k.report("kiwi") + "\n"
	open("1", false)
	if got := receive(); got != line {
		t.Errorf("the snapshot is %q, want %q", got, line)
	}
	for k.knows("kiwi") {
		k.pass(time.Second)
		k.r.ConfirmStream("1", 1, k.now)
	}
	k.pass(2 * time.Second)
	if got := receive(); got != "- kiwi\n" {
		t.Errorf("when the time has passed: %q, want that kiwi is unknown", got)
	}
	k.r.EndStream("1")
	open("2", true)
	open("3", false)
	if got := receive(); got != "" {
		t.Errorf("a dump and a snapshot have %q, want nothing", got)
	}
	k.report("emu")
	receive()
	for k.r.Map().Len() > 0 {
		k.pass(time.Second)
		k.r.ConfirmStream("3", 100, k.now)
	}
	receive()
	if open, _ := k.r.Streams(); open != 0 {
		t.Error("the stream of a follower that was not told goes on")
	}
}
