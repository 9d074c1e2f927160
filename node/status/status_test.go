package status

import (
	"testing"
	"time"
)

// herd is A and B in step with each other. C is not of the herd, and the first reply of A
// is an old one.
func herd() Herd {
	now := time.Unix(1000, 0)
	return Gather([]string{"A", "B"}, []Server{
		{Server: "B", Ready: true, Records: 2, Digest: "ff", Clients: 1, Clock: now, Edges: []Edge{{Peer: "A", Up: true, InStep: true}}},
		{Server: "C", Clock: now},
		{Server: "A", Records: 1, Digest: "0e", Clock: now, Edges: []Edge{{Peer: "B", Up: true, InStep: true}}},
		{Server: "A", Ready: true, Records: 2, Digest: "ff", Clock: now.Add(1), Edges: []Edge{{Peer: "B", Up: true, InStep: true}}},
	})
}

func TestHerdText(t *testing.T) {
	h := herd()
	if !h.InStep() || !h.Equal() {
		t.Errorf("InStep = %v, Equal = %v, want true for %+v", h.InStep(), h.Equal(), h)
	}
	const want = "SERVER  READY  RECORDS  DIGEST  CLIENTS  NEIGHBOURS\n" +
		"A       yes    2        ff      0        B (in step)\n" +
		"B       yes    2        ff      1        A (in step)\n" +
		"\n2 of 2 servers, all edges in step, all maps equal\n"
	if got := h.Text(); got != want {
		t.Errorf("Text = \n%s, want\n%s", got, want)
	}

	h = herd()
	h.Servers[1].Digest = "0e"
	if !h.InStep() || h.Equal() {
		t.Errorf("unequal digests: InStep = %v, Equal = %v, want true and false", h.InStep(), h.Equal())
	}
	h = herd()
	h.Servers[0].Edges[0] = Edge{Peer: "B", BeatAge: 12, Waiting: 3}
	h.Servers[0].Why = "A: NATS is disconnected"
	if h.InStep() {
		t.Error("InStep = true with an edge down")
	}
	h.Servers = h.Servers[:1]
	h.Missing = []string{"B"}
	const broken = "SERVER  READY     RECORDS  DIGEST  CLIENTS  NEIGHBOURS\n" +
		"A       yes       2        ff      0        B (down, last heartbeat 12 s ago, 3 waiting)\n" +
		"B       no reply                            \n" +
		"\nA: NATS is disconnected\n1 of 2 servers, NOT all edges in step, maps not equal at this moment\n"
	if got := h.Text(); got != broken {
		t.Errorf("Text = \n%q, want\n%q", got, broken)
	}
	if Gather([]string{"A"}, nil).InStep() {
		t.Error("InStep = true without replies")
	}
}

func TestEdgeText(t *testing.T) {
	for want, e := range map[string]Edge{
		"B (down, no heartbeat yet)":       {Peer: "B", BeatAge: -1},
		"B (down, last heartbeat 4 s ago)": {Peer: "B", BeatAge: 4.2},
		"B (repairing)":                    {Peer: "B", Up: true, Repairing: true, InStep: true},
		"B (not in step, 7 waiting)":       {Peer: "B", Up: true, Waiting: 7},
		"B (in step)":                      {Peer: "B", Up: true, InStep: true},
	} {
		if got := e.text(); got != want {
			t.Errorf("text = %q, want %q", got, want)
		}
	}
}
