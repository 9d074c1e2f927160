package replica

import (
	"fmt"
	"testing"
	"time"
)

// TestExpiredListIsBounded: a client is listed once, however many of its records come when they are expired already. Its newest
// record leaves the map by its own receipt.
func TestExpiredListIsBounded(t *testing.T) {
	k := newKept(t, "B").begin()
	for i := range 1000 {
		k.frame(fmt.Sprintf("AT B +0.000000000 kiwi +1+1 %d.%09d", k.now.Add(-testKeep-time.Second).Unix(), i))
	}
	expect := func(when string, listed, waiting, held int) {
		t.Helper()
		n := 0
		for _, ids := range k.r.keep.expired {
			n += len(ids)
		}
		if got := k.r.Expiry().Waiting; n != listed || got != waiting || k.r.Map().Len() != held {
			t.Errorf("%s: %d are listed, %d wait, %d are held; want %d, %d, %d", when, n, got, k.r.Map().Len(), listed, waiting, held)
		}
	}
	expect("after 1,000 records", 1, 1, 1)
	k.report("kiwi")
	expect("after a report", 1, 0, 1)
	k.pass(expiryGrace + 2*time.Minute)
	expect("when the slot has been removed", 0, 0, 1)

	k.frame(k.record("emu", testKeep+time.Second))
	k.pass(90 * time.Second)
	k.frame(k.record("emu", testKeep+time.Second)) // listed in the earlier slot
	expect("after records of two slots", 1, 1, 2)
	k.pass(90 * time.Second)
	expect("when the first of the two slots has been removed", 1, 1, 2)
	k.pass(90 * time.Second)
	expect("when the second has been removed", 0, 0, 1)
}

// TestQueuedIDBlocksNoOther: a removed client that the index of places has to forget keeps its own ID taken, and no other.
func TestQueuedIDBlocksNoOther(t *testing.T) {
	for _, tracked := range []bool{true, false} {
		k := newKept(t).begin()
		k.r.TrackChanges(true)
		const clients = 10
		for i := range clients {
			k.report(fmt.Sprint("old", i))
		}
		k.pass(testKeep + 5*time.Second)
		k.r.TakeChanged(nil, clients-1)
		k.pass(expiryGrace + 2*time.Minute)
		if k.r.Map().Len() != 0 {
			t.Fatal("not removed")
		}
		for i := range clients - 1 {
			k.report(fmt.Sprint("new", i))
		}
		if got := k.r.Map().End(); got != clients {
			t.Errorf("%d IDs were used, want those of the %d clients whose IDs nobody has to forget", got, clients-1)
		}
		k.report("next")
		if got := k.r.Map().End(); got != clients+1 {
			t.Errorf("%d IDs were used: the index of places has not forgotten the last one", got)
		}
		if tracked {
			k.r.TakeChanged(nil, 1)
		} else {
			k.r.TrackChanges(false)
		}
		k.pass(time.Second)
		k.report("last")
		if got := k.r.Map().End(); got != clients+1 {
			t.Errorf("%d IDs were used, want the last one again", got)
		}
	}
}

// TestManySlotsAtStart: records of many slots are removed in order, and do not make later walks longer.
func TestManySlotsAtStart(t *testing.T) {
	const slots = 2000
	k := newKept(t)
	k.r.Tick(k.now) // from now on clients are filed by slot
	for i := range slots {
		k.r.Replay([]byte(k.record(fmt.Sprint("c", (i*7919)%slots), time.Duration((i*7919)%slots)*time.Minute+time.Hour) + "\n"))
	}
	k.report("kiwi")
	k.r.BeginExpiry(k.now)
	for end := k.now.Add(removeAlone + 20*HeartbeatEvery); k.now.Before(end); k.now = k.now.Add(HeartbeatEvery) {
		k.r.Tick(k.now)
	}
	k.report("kiwi")
	last, listed := int64(0), 0
	for more := true; more; {
		listed = max(listed, len(k.r.keep.slots))
		if k.r.Expiry().Removed > 0 && len(k.r.keep.slots) > 0 {
			if k.r.keep.slots[0] < last {
				t.Fatalf("slot %d is removed after %d", k.r.keep.slots[0], last)
			}
			last = k.r.keep.slots[0]
		}
		more = k.r.Expire(1)
	}
	k.pass(2 * time.Minute)
	if held, n, walked := k.r.Map().Len(), len(k.r.keep.slots), k.r.keep.wheel.walked; held != 1 || n != 0 || listed != slots || walked > 10 {
		t.Errorf("%d records are held and %d slots listed, of %d; a walk finds up to %d slots", held, n, listed, walked)
	}
}

// TestMarksDue: marks are due from when a record expires until it is marked, and not while records wait to be removed.
func TestMarksDue(t *testing.T) {
	k := newKept(t).begin()
	k.report("kiwi")
	k.report("emu")
	k.pass(testKeep - time.Second)
	if k.r.MarksDue() {
		t.Error("marks are due before any record expires")
	}
	k.now = k.now.Add(2 * time.Second)
	if k.r.Tick(k.now); !k.r.MarksDue() {
		t.Error("no marks are due when records have expired")
	}
	k.pass(5 * time.Second)
	if expired := k.r.Map().Expired(); k.r.MarksDue() || expired != 2 {
		t.Errorf("%d records are marked, want 2; marks are due: %v", expired, k.r.MarksDue())
	}
}
