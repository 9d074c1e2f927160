package replica

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"herd/node/store"
	"herd/node/wire"
)

// TestTakeChanged: each client whose record has changed is taken once, in order, whoever sent
// the record; while tracking is off nothing is queued.
func TestTakeChanged(t *testing.T) {
	r := New(Config{Name: "A", Topology: Topology{Neighbours: []string{"B"}, Adjacent: func(string, string) bool { return false }}, Epoch: 1})
	now := time.Unix(1000, 0)
	report := func(client, at int) {
		c := wire.ParseCommand(fmt.Appendf(nil, "IAMAT c%d +1+1 %d", client, at))
		if _, _, err := r.IAmAt(nil, c, now); err != nil {
			t.Fatal(err)
		}
	}
	report(0, 1)
	report(1, 1)
	if r.Changed() != 0 {
		t.Error("changes are queued before TrackChanges")
	}
	r.TrackChanges(true)
	report(1, 2)
	report(0, 2)
	report(1, 3)
	report(0, 1) // stale
	r.Frame(0, wire.Mark{}, []byte("AT B +0.000000000 c2 +1+1 5\nAT B +0.000000000 c1 +1+1 1\n"), now)
	if r.Changed() != 3 {
		t.Errorf("%d clients have changed, want 3", r.Changed())
	}
	if got := r.TakeChanged([]store.ID{9}, 3); !slices.Equal(got, []store.ID{9, 1, 0}) {
		t.Errorf("TakeChanged = %v, want [9 1 0]", got)
	}
	if got := r.TakeChanged(nil, 3); !slices.Equal(got, []store.ID{2}) || r.Changed() != 0 {
		t.Errorf("TakeChanged = %v, want [2]; %d are left", got, r.Changed())
	}
	report(2, 9)
	r.TrackChanges(false)
	report(2, 10)
	if r.Changed() != 0 {
		t.Error("changes are queued after tracking has ended")
	}
}
