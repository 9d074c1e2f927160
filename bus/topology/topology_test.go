package topology

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func mustLoad(t *testing.T, spec string) *Graph {
	t.Helper()
	g, err := Load(spec)
	if err != nil {
		t.Fatalf("Load(%q): %v", spec, err)
	}
	return g
}

func TestPresets(t *testing.T) {
	tests := map[string]struct {
		servers    []string
		neighbours map[string][]string
	}{
		"goloman": {
			[]string{"Goloman", "Hands", "Holiday", "Welsh", "Wilkes"},
			map[string][]string{
				"Goloman": {"Hands", "Holiday", "Wilkes"},
				"Hands":   {"Goloman", "Wilkes"},
				"Holiday": {"Goloman", "Welsh", "Wilkes"},
				"Welsh":   {"Holiday"},
				"Wilkes":  {"Goloman", "Hands", "Holiday"},
			},
		},
		"riley": {
			[]string{"Riley", "Jaquez", "Juzang", "Campbell", "Bernard"},
			map[string][]string{
				"Riley":    {"Jaquez", "Juzang"},
				"Jaquez":   {"Riley", "Bernard"},
				"Juzang":   {"Riley", "Campbell", "Bernard"},
				"Campbell": {"Juzang", "Bernard"},
				"Bernard":  {"Jaquez", "Juzang", "Campbell"},
			},
		},
	}
	for name, want := range tests {
		g := mustLoad(t, name)
		if diff := cmp.Diff(want.servers, g.Servers()); diff != "" {
			t.Errorf("%s servers (-want +got):\n%s", name, diff)
		}
		got := map[string][]string{}
		for i, s := range g.Servers() {
			got[s] = g.Neighbours(s)
			if g.Index(s) != i {
				t.Errorf("%s: Index(%s) = %d, want %d", name, s, g.Index(s), i)
			}
		}
		if diff := cmp.Diff(want.neighbours, got); diff != "" {
			t.Errorf("%s neighbours (-want +got):\n%s", name, diff)
		}
	}
}

func TestLoadLists(t *testing.T) {
	file := filepath.Join(t.TempDir(), "edges")
	if err := os.WriteFile(file, []byte("# a comment\n\nB-A # first\n  A - C\r\nC-A\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		spec    string
		servers []string
		edges   []Edge
	}{
		{"B-A,A-C", []string{"B", "A", "C"}, []Edge{{"B", "A"}, {"A", "C"}}},
		{"A-B,B-A,A-B", []string{"A", "B"}, []Edge{{"A", "B"}}},
		{"Solo", []string{"Solo"}, nil},
		{"golo", []string{"golo"}, nil}, // three letters less than a preset
		{"_1-a_Z9", []string{"_1", "a_Z9"}, []Edge{{"_1", "a_Z9"}}},
		{file, []string{"B", "A", "C"}, []Edge{{"B", "A"}, {"A", "C"}}},
	}
	for _, tt := range tests {
		g := mustLoad(t, tt.spec)
		if diff := cmp.Diff(tt.servers, g.Servers()); diff != "" {
			t.Errorf("Load(%q) servers (-want +got):\n%s", tt.spec, diff)
		}
		if diff := cmp.Diff(tt.edges, g.Edges()); diff != "" {
			t.Errorf("Load(%q) edges (-want +got):\n%s", tt.spec, diff)
		}
	}
}

func TestLongestName(t *testing.T) {
	name := strings.Repeat("B", 64)
	if got := mustLoad(t, "A-"+name).Servers(); !slices.Equal(got, []string{"A", name}) {
		t.Errorf("servers %q, want A and %q", got, name)
	}
}

func TestLoadErrors(t *testing.T) {
	empty := filepath.Join(t.TempDir(), "empty")
	if err := os.WriteFile(empty, []byte("# nothing\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	tests := []struct{ spec, reason string }{
		{"A-A", "A-A joins a server to itself"},
		{"A-B,C-D", "not connected: no path from A to C, D"},
		{"A-B,C", `"C" is not an edge`},
		{"A-B-C", `"A-B-C" is not an edge such as A-B: a server's name must`},
		{"A-", `"A-" is not an edge such as A-B: a server's name must`},
		{"A.B-C", `"A.B-C" is not an edge such as A-B: a server's name must`},
		{"A*-C", `"A*-C" is not an edge such as A-B: a server's name must`},
		{"G\u00f6-C", "a server's name must"},
		{"A B-C", "a server's name must"},
		{"A-B,,B-C", `"" is not an edge such as A-B: a server's name must`},
		{"", "a server's name must"},
		{"A->B", `"A->B" is not an edge such as A-B`},
		{"edges.txt", "a file needs a /, such as ./edges.txt"},
		{"Riley", `"Riley" is not a topology: did you mean riley?`},
		{"GOLOMAN", "did you mean goloman?"},
		{"Golman", "did you mean goloman?"},
		{"golomann1", "did you mean goloman?"},
		{"relay", "did you mean riley?"},
		{"A-" + strings.Repeat("B", 65), "64 at most"},
		{"A-A,B.-C", "B.-C"},
		{"A-A,B.-C", "A-A"},
		{empty, "no edges"},
		{"./no/such/file", "no such file"},
	}
	for _, tt := range tests {
		g, err := Load(tt.spec)
		if err == nil {
			t.Errorf("Load(%q) = %v, want an error", tt.spec, g.Servers())
		} else if !strings.Contains(err.Error(), tt.reason) {
			t.Errorf("Load(%q): %v, want %q in it", tt.spec, err, tt.reason)
		}
	}
}

func TestDistance(t *testing.T) {
	for _, tt := range []struct {
		a, b string
		want int
	}{
		{"", "", 0}, {"", "ab", 2}, {"ab", "", 2}, {"riley", "riley", 0}, {"rliey", "riley", 2}, {"iley", "riley", 1},
		{"rileyx", "riley", 1}, {"kitten", "sitting", 3}, {"abc", "xyz", 3},
	} {
		if got := Distance(tt.a, tt.b); got != tt.want {
			t.Errorf("Distance(%q, %q) = %d, want %d", tt.a, tt.b, got, tt.want)
		}
	}
}

func TestHash(t *testing.T) {
	same := mustLoad(t, "A-B,B-C").Hash()
	if got := mustLoad(t, "C-B,B-A").Hash(); got != same {
		t.Errorf("the same graph in another order has hash %x, want %x", got, same)
	}
	for _, other := range []string{"A-B,B-C,A-C", "A-B", "A-C,C-B", "A-B,B-D", "AB-C"} {
		if mustLoad(t, other).Hash() == same {
			t.Errorf("%s has the hash of A-B,B-C", other)
		}
	}
}

func TestDraw(t *testing.T) {
	g := mustLoad(t, "Ann-Bob,Bob-C")
	tests := []struct{ name, got, want string }{
		{"Text", g.Text(), "3 servers, 2 edges\nAnn  Bob\nBob  Ann C\nC    Bob\n"},
		{"DOT", g.DOT(), "graph herd {\n  Ann;\n  Bob;\n  C;\n  Ann -- Bob;\n  Bob -- C;\n}\n"},
		{"Mermaid", g.Mermaid(), "graph LR\n  Ann\n  Bob\n  C\n  Ann --- Bob\n  Bob --- C\n"},
		{"DOT with keywords", mustLoad(t, "1a-Node").DOT(), "graph herd {\n  \"1a\";\n  \"Node\";\n  \"1a\" -- \"Node\";\n}\n"},
		{"Mermaid with keywords", mustLoad(t, "a-end").Mermaid(), "graph LR\n  a\n  _end[end]\n  a --- _end\n"},
		{"Text of one server", mustLoad(t, "Solo").Text(), "1 server, 0 edges\nSolo\n"},
	}
	for _, tt := range tests {
		if tt.got != tt.want {
			t.Errorf("%s = %q, want %q", tt.name, tt.got, tt.want)
		}
	}
}
