package node

import (
	"context"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"herd/bus/topology"
	"herd/node/replica"
)

// topologyFor is what a server knows of the graph of a list of edges.
func topologyFor(t *testing.T, name, edges string) replica.Topology {
	t.Helper()
	g, err := topology.Load(edges)
	if err != nil {
		t.Fatal(err)
	}
	return replica.Topology{Neighbours: g.Neighbours(name), Adjacent: g.Adjacent, Hash: g.Hash()}
}

// upPeers is the neighbours of a server whose edges are up.
func (h *testHerd) upPeers(name string) (peers []string) {
	for _, e := range h.servers[name].node.Stats().Edges {
		if e.Up {
			peers = append(peers, e.Peer)
		}
	}
	slices.Sort(peers)
	return peers
}

// TestSetTopology: an edge that two servers give up stays until the one that gets another
// edge instead is in step over that. Then it goes at both ends, and records flow over the
// new one.
func TestSetTopology(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newTestHerd(t, "A-B,B-C").startAll()
		settle()
		const changed = "A-C,B-C"
		done := map[string]chan []string{}
		set := func(name string) {
			changes := make(chan []string, 1)
			done[name] = changes
			go func() {
				changes <- h.servers[name].node.SetTopology(t.Context(), topologyFor(t, name, changed))
			}()
		}
		set("B") // which adds no edge
		set("A")
		time.Sleep(NewEdgeTimeout / 2)
		if a, b := h.upPeers("A"), h.upPeers("B"); !slices.Equal(a, []string{"B"}) || !slices.Equal(b, []string{"A", "C"}) {
			t.Errorf("before C has the edge to A: the edges of A to %v and of B to %v are up, want to B, and to A and C", a, b)
		}
		kiwi := h.dial("A").ask("IAMAT kiwi +1+1 100")
		set("C")
		for name, want := range map[string]string{
			"A": "A: new neighbours: C\nA: no longer neighbours: B", "B": "B: no longer neighbours: A", "C": "C: new neighbours: A",
		} {
			if got := strings.Join(<-done[name], "\n"); got != want {
				t.Errorf("changes of %s: %q, want %q", name, got, want)
			}
		}
		time.Sleep(time.Second)
		settle()
		if a, b := h.upPeers("A"), h.upPeers("B"); !slices.Equal(a, []string{"C"}) || !slices.Equal(b, []string{"C"}) {
			t.Errorf("after the change: the edges of A to %v and of B to %v are up, want both to C", a, b)
		}
		h.wantRecord("kiwi", kiwi)
		emu := h.dial("A").ask("IAMAT emu +1+1 100")
		settle()
		h.wantRecord("emu", emu)
		if got := h.servers["A"].node.SetTopology(t.Context(), topologyFor(t, "A", changed)); got != nil {
			t.Errorf("the same topology again changes %q", got)
		}
	})
}

// TestSetTopologyTimeout: if a new edge does not get in step, the old one is given up after
// NewEdgeTimeout.
func TestSetTopologyTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newTestHerd(t, "A-B,B-C").startAll()
		settle()
		began := time.Now()
		changes := h.servers["A"].node.SetTopology(t.Context(), topologyFor(t, "A", "A-C,B-C")) // C does not get it
		if took := time.Since(began); len(changes) != 2 || took < NewEdgeTimeout || took > NewEdgeTimeout+time.Second {
			t.Errorf("changes %q after %v, want two after %v", changes, took, NewEdgeTimeout)
		}
		if a := h.upPeers("A"); len(a) > 0 {
			t.Errorf("the edges of A to %v are up, want none", a)
		}
	})
}

// TestSetTopologyStop: a server that is stopped while new edges get in step keeps the old
// ones: what it has acknowledged must still leave.
func TestSetTopologyStop(t *testing.T) {
	for name, stop := range map[string]func(h *testHerd, cancel func()){
		"context": func(_ *testHerd, cancel func()) { cancel() },
		"server": func(h *testHerd, cancel func()) {
			h.servers["A"].node.locked(func() { h.servers["A"].node.stopping = true })
			time.Sleep(NewEdgeTimeout)
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := newTestHerd(t, "A-B,B-C").startAll()
				settle()
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				done := make(chan []string, 1)
				go func() { done <- h.servers["A"].node.SetTopology(ctx, topologyFor(t, "A", "A-C,B-C")) }()
				time.Sleep(time.Second)
				stop(h, cancel)
				if changes := <-done; changes != nil {
					t.Errorf("a server that stops has changed %q", changes)
				}
				if a := h.upPeers("A"); !slices.Equal(a, []string{"B"}) {
					t.Errorf("the edges of A to %v are up, want to B", a)
				}
				h.servers["A"].node.locked(func() { h.servers["A"].node.stopping = false })
			})
		})
	}
}

// TestStopOfRefused: a server that no neighbour lists any more says how many records it
// could not hand over.
func TestStopOfRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newTestHerd(t, "A-B,B-C").startAll()
		settle()
		h.servers["B"].node.SetTopology(t.Context(), topologyFor(t, "B", "B-C"))
		time.Sleep(2 * time.Second)
		settle()
		h.dial("A").ask("IAMAT kiwi +1+1 100")
		settle()
		const want = "A: B does not list an edge with us"
		if err := h.servers["A"].node.Ready(); err == nil || err.Error() != want {
			t.Errorf("Ready = %v, want %s", err, want)
		}
		if err := h.servers["A"].stop(); err == nil || !strings.Contains(err.Error(), "1 record was not handed over: B does not list an edge with us") {
			t.Errorf("Run = %v, want an error that names the record", err)
		}
	})
}
