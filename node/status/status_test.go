package status

import (
	"slices"
	"strings"
	"testing"
)

// replies is A and B in step with each other. A replied twice, and its first reply counts.
func replies() []Server {
	return []Server{
		{Server: "B", Ready: true, Records: 2, Digest: "ff", Clients: 1, Edges: []Edge{{Peer: "A", Up: true, InStep: true}}},
		{Server: "A", Ready: true, Records: 2, Digest: "ff", Edges: []Edge{{Peer: "B", Up: true, InStep: true}}},
		{Server: "A", Records: 1, Digest: "0e"},
	}
}

func gather(names string, earlier Herd, change func(replies []Server)) Herd {
	r := replies()
	if change != nil {
		change(r)
	}
	return Gather(strings.Fields(names), r, earlier)
}

func TestHerdText(t *testing.T) {
	h := gather("A B", Herd{}, nil)
	if !h.InStep() || !h.Well() || h.Maps != Equal {
		t.Errorf("InStep = %v, Well = %v, maps %s, want true, true and equal: %+v", h.InStep(), h.Well(), h.Maps, h)
	}
	const want = "SERVER  READY  RECORDS  DIGEST  CLIENTS  NEIGHBOURS\n" +
		"A       yes    2        ff      0        B (in step)\n" +
		"B       yes    2        ff      1        A (in step)\n" +
		"\n2 of 2 servers, all edges in step, all maps equal\n"
	if got := h.Text(); got != want {
		t.Errorf("Text = \n%s, want\n%s", got, want)
	}

	// B was killed a moment ago: A has not noticed yet.
	killed := Gather([]string{"A", "B"}, replies()[1:2], Herd{})
	const broken = "SERVER  READY     RECORDS  DIGEST  CLIENTS  NEIGHBOURS\n" +
		"A       yes       2        ff      0        B (no reply)\n" +
		"B       no reply\n" +
		"\nproblem: B does not reply\n1 of 2 servers, NOT all edges in step, not known whether maps are equal\n"
	if killed.Servers[0].Edges[0].InStep {
		t.Error("the edge to a server that does not reply is in step")
	}
	if got := killed.Text(); got != broken {
		t.Errorf("Text = \n%s, want\n%s", got, broken)
	}

	// A server that does not reply keeps its place.
	if got := Gather([]string{"A", "B"}, replies()[:1], Herd{}).Text(); !strings.HasPrefix(got, "SERVER  READY     RECORDS  DIGEST  CLIENTS  NEIGHBOURS\nA       no reply\nB       yes ") {
		t.Errorf("Text = \n%s, want A first", got)
	}
}

// TestProblems: whatever is wrong is named, and nothing else is.
func TestProblems(t *testing.T) {
	for _, tt := range []struct {
		name, names string
		change      func(r []Server)
		problems    []string
	}{
		{"nothing", "A B", nil, nil},
		{"a server of the topology does not reply", "A B C", nil,
			[]string{"C does not reply", "the edges do not connect all servers: A B | C"}},
		{"another herd", "C D", nil, []string{"the servers that reply have another topology (B, A): is HERD_TOPOLOGY that of the herd?"}},
		{"a neighbour that we do not list does not reply", "A B",
			func(r []Server) { r[0].Edges = append(r[0].Edges, Edge{Peer: "C", Up: true, InStep: true}) },
			[]string{"C does not reply"}},
		{"not ready", "A B", func(r []Server) { r[0].Ready, r[0].Why = false, "B: NATS is disconnected" },
			[]string{"not ready: B: NATS is disconnected"}},
		{"kept off a subject", "A B", func(r []Server) { r[0].Bus = "NATS refuses a subscription" },
			[]string{"B: NATS refuses a subscription"}},
		{"kept off a subject, and therefore not ready", "A B",
			func(r []Server) { r[0].Ready, r[0].Why, r[0].Bus = false, "B: NATS refuses all", "NATS refuses all" },
			[]string{"not ready: B: NATS refuses all"}},
		{"down at one end", "A B", func(r []Server) { r[0].Edges[0] = Edge{Peer: "A", BeatAge: 12, Waiting: 3} },
			[]string{"B is not in step with A: down, last heartbeat 12 s ago"}},
		{"refused", "A B", func(r []Server) { r[0].Edges[0] = Edge{Peer: "A", Problem: "A has format 2, ours is 1"} },
			[]string{"B: A has format 2, ours is 1"}},
		{"another topology", "A B", func(r []Server) { r[0].Edges[0].Problem = "A has another topology" }, nil},
		{"listed at one end", "A B", func(r []Server) { r[0].Edges = nil },
			[]string{"A lists an edge to B, which does not list it", "the edges do not connect all servers: A | B"}},
		{"unsendable", "A B", func(r []Server) { r[1].Edges[0].Unsendable = 2 },
			[]string{"A cannot send 2 records to B: larger than NATS's max_payload, raise it"}},
		{"unequal, but perhaps only for a moment", "A B", func(r []Server) { r[0].Digest = "0e" }, nil},
	} {
		h := gather(tt.names, Herd{}, tt.change)
		if !slices.Equal(h.Problems, tt.problems) {
			t.Errorf("%s: problems %q, want %q", tt.name, h.Problems, tt.problems)
		}
		if h.Well() != (len(tt.problems) == 0) {
			t.Errorf("%s: Well = %v with %d problems", tt.name, h.Well(), len(tt.problems))
		}
	}
	if h := Gather([]string{"A"}, nil, Herd{}); h.Well() || h.InStep() || h.Maps != Unknown {
		t.Errorf("without replies: Well = %v, InStep = %v, maps %s, want false, false, unknown", h.Well(), h.InStep(), h.Maps)
	}
}

// TestPausedExpiry: where maps differ, the servers at which no record expires are named, with the reason.
func TestPausedExpiry(t *testing.T) {
	differ := func(r []Server) {
		r[0].Digest, r[0].Keep, r[0].KeepPaused = "0e", "1m0s", "our clock has jumped"
		r[1].Keep = "1m0s"
	}
	want := []string{"the servers hold different records, and their maps do not change", "records do not expire at B: our clock has jumped"}
	if h := gather("A B", gather("A B", Herd{}, differ), differ); !slices.Equal(h.Problems, want) {
		t.Errorf("problems %q, want %q", h.Problems, want)
	}
}

// TestMaps: different maps are unequal only if two of them rest.
func TestMaps(t *testing.T) {
	digests := func(b, a string) func(r []Server) {
		return func(r []Server) { r[0].Digest, r[1].Digest = b, a }
	}
	for _, tt := range []struct {
		name           string
		before, change func(r []Server)
		want           Maps
	}{
		{"equal", nil, nil, Equal},
		{"different, and both rest", digests("0e", "ff"), digests("0e", "ff"), Unequal},
		{"different, and both change", digests("0e", "ff"), digests("0f", "aa"), Changing},
		{"different, and one changes", digests("0e", "ff"), digests("0f", "ff"), Changing},
		{"different, and a restarted server has the digest that it had", digests("0e", "ff"),
			func(r []Server) { digests("0e", "ff")(r); r[0].Epoch = 7 }, Changing},
		{"equal after a change", digests("0e", "ff"), nil, Equal},
	} {
		earlier := gather("A B", Herd{}, tt.before)
		if got := gather("A B", earlier, tt.change).Maps; got != tt.want {
			t.Errorf("%s: maps %s, want %s", tt.name, got, tt.want)
		}
	}
	if got := gather("A B C", gather("A B C", Herd{}, digests("0e", "ff")), digests("0e", "ff")).Maps; got != Unknown {
		t.Errorf("a server does not reply: maps %s, want unknown", got)
	}
}

func TestEdgesText(t *testing.T) {
	for want, e := range map[string]Edge{
		"B (down, no heartbeat yet)":       {Peer: "B", BeatAge: -1},
		"B (down, last heartbeat 4 s ago)": {Peer: "B", BeatAge: 4.2},
		"B (repairing)":                    {Peer: "B", Up: true, Repairing: true, InStep: true},
		"B (not in step, 7 waiting)":       {Peer: "B", Up: true, Waiting: 7},
		"B (in step)":                      {Peer: "B", Up: true, InStep: true},
	} {
		if got := (Herd{}).edgesText([]Edge{e}); got != want {
			t.Errorf("edgesText = %q, want %q", got, want)
		}
	}
	edges := []Edge{{Peer: "A", Up: true, InStep: true}, {Peer: "B", Up: true, InStep: true}, {Peer: "C", Up: true, Waiting: 1}, {Peer: "D", Up: true, InStep: true}}
	if got, want := (Herd{}).edgesText(edges), "A, B (in step), C (not in step, 1 waiting), D (in step)"; got != want {
		t.Errorf("edgesText = %q, want %q", got, want)
	}
}
