package replica

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"herd/node/follow"
	"herd/node/wire"
)

// Streams of a server whose records expire.

// openStream opens the stream of a follower.
func (k *kept) openStream(request string) {
	k.t.Helper()
	parsed, err := follow.Parse([]byte(request))
	if err == nil {
		err = k.r.OpenStream(StreamConfig{ID: "1", Filter: follow.NewFilter(parsed)}, k.now)
	}
	if err != nil {
		k.t.Fatal(err)
	}
}

// receive is all that the stream sends within some seconds.
func (k *kept) receive() (got string) {
	for range 30 {
		k.now = k.now.Add(100 * time.Millisecond)
		for f, due := k.r.NextStreamFrame(nil, k.now); f.Mark != (wire.Mark{}) || !due.After(k.now); f, due = k.r.NextStreamFrame(nil, k.now) {
			got += string(f.Data)
			k.r.ConfirmStream("1", f.Mark.Seq, k.now)
		}
	}
	return got
}

// TestStreamByPrefixOfReusedID: a follower gets a client that takes an ID which the snapshot has passed while nobody had it.
func TestStreamByPrefixOfReusedID(t *testing.T) {
	k := newKept(t).begin()
	for i := range 3 * lookAtOnce {
		k.report(fmt.Sprint("old", i))
	}
	k.pass(testKeep)
	k.report("keeper") // the last ID
	k.pass(testKeep - time.Minute)
	k.openStream(`{"prefix":"k"}`)
	if f, _ := k.r.NextStreamFrame(nil, k.now); f.Lines != 0 { // it has looked at IDs that nobody has
		t.Fatalf("%s", f.Data)
	}
	k.report("kiwi")
	if id, _ := k.r.Map().Find([]byte("kiwi")); id >= lookAtOnce {
		t.Fatalf("kiwi has ID %d", id)
	}
	got := k.receive()
	k.report("kiwi")
	if got += k.receive(); strings.Count(got, " keeper ") != 1 || strings.Count(got, " kiwi ") < 1 {
		t.Errorf("the follower has got %q, want keeper and kiwi", got)
	}
}

// TestStreamByPrefixAfterTooLarge: a follower gets a client whose first record was too large for a message.
func TestStreamByPrefixAfterTooLarge(t *testing.T) {
	k := newKept(t).begin()
	k.openStream(`{"prefix":"k"}`)
	k.receive()
	k.r.SetMaxMessage(100)
	report(t, k.r, fmt.Sprintf("IAMAT kiwi +1.%s+1 %d", strings.Repeat("0", 200), k.now.Unix()), k.now.Unix())
	k.report("kea")
	if got := k.receive(); strings.Contains(got, "kiwi") || !strings.Contains(got, " kea ") {
		t.Fatalf("the follower has got %q, want kea", got)
	}
	k.report("kiwi")
	if got := k.receive(); !strings.Contains(got, " kiwi ") {
		t.Errorf("the follower has got %q, want kiwi", got)
	}
}
