package replica

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"herd/node/follow"
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
			if want := e.Text == "records expire again"; e.Recovered != want {
				k.t.Errorf("%q: recovered %v, want %v", e.Text, e.Recovered, want)
			}
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

// TestTombstonesExpire: tombstones leave the map like records. A client whose record is expired can be forgotten, too: it might come
// back from a journal.
func TestTombstonesExpire(t *testing.T) {
	k := newKept(t).begin()
	k.report("kiwi")
	if _, err := k.r.Forget(nil, []byte("kiwi"), k.now); err != nil {
		t.Fatal(err)
	}
	k.report("emu")
	k.pass(testKeep + time.Second)
	if line, err := k.r.Forget(nil, []byte("emu"), k.now); err != nil || k.knows("emu") {
		t.Errorf("forgetting an expired client: %q, %v", line, err)
	}
	k.pass(2 * time.Second)
	k.expect("expired", false, 0, 2)
	k.pass(expiryGrace + time.Minute)
	k.expect("removed", false, 0, 1)
	k.pass(testKeep)
	k.expect("both removed", false, 0, 0)
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

// TestExpiredClientsMakeRoom: an expired client does not count for MaxClients, and the memory of removed records not for MaxBytes.
func TestExpiredClientsMakeRoom(t *testing.T) {
	k := newKept(t).begin()
	k.r.cfg.MaxClients = 1
	k.report("kiwi")
	second := wire.ParseCommand(fmt.Appendf(nil, "IAMAT emu +1+1 %d", k.now.Unix()))
	if _, _, err := k.r.IAmAt(nil, second, k.now); err != ErrTooManyClients {
		t.Errorf("a second client: %v, want %v", err, ErrTooManyClients)
	}
	k.pass(testKeep + 2*time.Second)
	if _, _, err := k.r.IAmAt(nil, second, k.now); err != nil {
		t.Errorf("a second client when the first has expired: %v", err)
	}

	k.r.cfg.MaxClients = 0
	k.r.store.SetLimit(20_000)
	fill := func(generation int64) (clients int) {
		for ; ; clients++ {
			c := wire.ParseCommand(fmt.Appendf(nil, "IAMAT c%d-%d +1+1 %d", generation, clients, k.now.Unix()))
			if _, _, err := k.r.IAmAt(nil, c, k.now); err == ErrFull {
				return clients
			} else if err != nil {
				t.Fatal(err)
			}
		}
	}
	first := fill(1)
	k.pass(testKeep + expiryGrace + 2*time.Minute)
	if why := k.r.Full(); why != "" {
		t.Errorf("when all have been removed: %s", why)
	}
	if again := fill(2); again < first {
		t.Errorf("%d clients fit when others have been removed, before it were %d", again, first)
	}
	k.pass(testKeep / 2)
	for i := range first / 2 { // the others expire
		k.report(fmt.Sprintf("c2-%d", i))
	}
	k.pass(testKeep/2 + expiryGrace + 2*time.Minute)
	if why := k.r.Full(); why != "" {
		t.Errorf("when half have been removed: %s", why)
	}
	if again := fill(3_000_000_000_000_000); again < first/3 { // in slots of another size
		t.Errorf("%d clients with longer names fit when half of %d have been removed", again, first)
	}
}

// TestRemovedDuringAppend: records that are removed while the journal appends them are not appended again after a
// failure. The memory of their entries may be gone by then.
func TestRemovedDuringAppend(t *testing.T) {
	k := newKept(t).begin()
	for i := range 1024 { // a page of entries
		k.report(fmt.Sprintf("c%d", i))
	}
	k.report("kiwi")
	k.r.NextJournalLines(nil, 1<<20) // the append hangs
	k.pass(testKeep + 2*expiryGrace)
	if held := k.r.Map().Len(); held != 0 {
		t.Fatalf("%d records are held, want none", held)
	}
	k.report("emu")
	k.r.JournalDone(false)
	if lines, n := k.r.NextJournalLines(nil, 1<<20); n != 1 || !strings.Contains(string(lines), " emu ") || k.r.Unjournalled() != 1 {
		t.Errorf("%d lines for the journal: %q, %d not journalled, want that of emu", n, lines, k.r.Unjournalled())
	}
}

// TestNewClientForFullNeighbour: a neighbour whose map is full gets no new clients, also not if they have the ID of a
// client that was removed before or after that.
func TestNewClientForFullNeighbour(t *testing.T) {
	k := newKept(t, "B").begin()
	k.frame(k.record("c0", testKeep))
	k.pass(2 * expiryGrace)
	k.frame(k.record("c1", testKeep-30*time.Second))
	k.frame(k.record("c2", 0))
	if end := k.r.Map().End(); end != 2 {
		t.Fatalf("%d IDs were used, want the one of c0 again", end)
	}
	k.beat.Digest = k.r.Map().Digest()
	k.pass(2 * time.Second)
	k.beat.Full = true
	k.pass(2 * time.Second)
	if !k.r.edges[0].full {
		t.Fatal("the neighbour is not seen as full")
	}
	k.pass(expiryGrace + 2*time.Minute) // c1 is removed
	k.report("newcomer")
	if end := k.r.Map().End(); end != 2 {
		t.Fatalf("%d IDs were used, want the one of c1 again", end)
	}
	if f := k.r.NextFrame(0, nil); f.Lines > 0 {
		t.Errorf("frame for the full neighbour: %q, want none", f.Data)
	}
	k.report("c2")
	if f := k.r.NextFrame(0, nil); f.Lines != 1 || !strings.Contains(string(f.Data), " c2 ") {
		t.Errorf("frame for the full neighbour: %q, want that of c2, which it knows", f.Data)
	}
}
