package replica

import (
	"fmt"
	"testing"
	"time"

	"herd/node/store"
	"herd/node/wire"
)

// TestManyBelowTheirFloor: when a neighbour takes hardly any of our records, no message makes us look at many of them. What it
// takes reaches it all the same.
func TestManyBelowTheirFloor(t *testing.T) {
	const clients = 250_000 // more than compareAtOnce in the buckets of one request
	k := newKept(t, "B")
	for i := range clients {
		mergeLine(t, k.r, k.record(fmt.Sprint("c", i), time.Hour))
	}
	young := k.record("emu", time.Minute)
	mergeLine(t, k.r, young)
	k.beat.Digest, k.beat.Floor = 1, k.now.Add(-30*time.Minute).Unix()/wire.SlotSeconds
	k.pass(time.Second)
	for id := range k.r.Map().End() {
		k.r.edges[0].enqueue(id)
	}

	frames, sent := 0, ""
	for more := true; more; frames++ {
		before := k.r.edges[0].queued()
		f := k.r.NextFrame(0, nil)
		if left := k.r.edges[0].queued(); before-left > skipAtOnce+1 {
			t.Fatalf("one frame took %d records, want %d at most", before-left, skipAtOnce)
		}
		sent += string(f.Data)
		k.r.FrameDone(0, Sent)
		more = f.More
	}
	if sent != young+"\n" || frames < clients/skipAtOnce || k.r.edges[0].queued() > 0 {
		t.Errorf("%d frames with %q, and %d records are left; want %q", frames, sent, k.r.edges[0].queued(), young)
	}

	most := compareAtOnce + clients/1000 // and the rest of a bucket
	got := ""
	for next := 0; next < wire.Buckets; {
		request := wire.Sync{Kind: wire.RequestLines, ID: 1, Last: true, Floor: k.beat.Floor}
		for bucket := next; bucket < wire.Buckets; bucket++ {
			request.Body = wire.AppendBucket(request.Body, uint16(bucket), nil)
		}
		a, _, err := k.r.HandleRequest(0, request.Append(nil), k.now)
		if err != nil {
			t.Fatal(err)
		}
		for more := true; more; {
			var message []byte
			if message, more, err = a.Next(); err != nil {
				t.Fatal(err)
			}
			m, err := wire.ParseSync(message)
			if err != nil || m.Last == more || len(m.Body) == 0 && more {
				t.Fatalf("%v: %d bytes, last: %v, more: %v", err, len(m.Body), m.Last, more)
			}
			if got += string(m.Body); a.looked > most {
				t.Fatalf("one message looked at %d records", a.looked)
			}
			if m.Last {
				if m.Done == 0 {
					t.Fatal("a reply covers no bucket")
				}
				next += int(m.Done)
			}
		}
		k.now = k.now.Add(time.Second) // the neighbour does not ask too often
	}
	if got != young+"\n" {
		t.Errorf("the replies have %q, want %q", got, young)
	}

	c := &comparison{}
	for i := range c.differing {
		c.differing[i] = ^uint64(0)
	}
	buckets := 0
	for k.r.requestLines(0, c) != nil {
		looked := 0
		for _, bucket := range c.requested {
			k.r.Map().EachInBucket(bucket, func(store.ID, uint64) { looked++ })
		}
		if buckets += len(c.requested); looked > most {
			t.Fatalf("one request looked at %d records", looked)
		}
		c.requested = c.requested[:0]
	}
	if buckets != wire.Buckets {
		t.Errorf("%d buckets were requested, want all", buckets)
	}
}
