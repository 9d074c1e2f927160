package node

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// TestReadyFollowsTheBus: once reached, ready is kept, but Ready reports a disconnected
// bus and a stop.
func TestReadyFollowsTheBus(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newTestHerd(t, "A-B").startAll()
		a := h.servers["A"].node
		expect := func(when, want string) {
			t.Helper()
			settle()
			switch err := a.Ready(); {
			case want == "" && err != nil, want != "" && (err == nil || err.Error() != want):
				t.Errorf("%s: Ready = %v, want %q", when, err, want)
			}
		}
		expect("started", "")
		h.network.Stop()
		expect("disconnected", "A: NATS is disconnected")
		if s := a.Status(); s.Edges[0].Up || s.Ready || !strings.Contains(s.Why, "disconnected") {
			t.Errorf("status while disconnected: %+v", s)
		}
		began := time.Now()
		if h.dial("A").ask("WHATSAT kiwi 0 0"); time.Since(began) > 0 {
			t.Error("a WHATSAT waited for a bus that was disconnected later")
		}
		h.network.Start()
		expect("connected again", "")
		if err := h.servers["A"].stop(); err != nil {
			t.Fatal(err)
		}
		expect("stopped", "A: stopping")
	})
}
