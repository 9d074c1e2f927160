package topology

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// FuzzLoad: text is either an error or a valid graph, as an edge list and as a file, and the
// graph of its own edges, in any order and direction, is the same.
func FuzzLoad(f *testing.F) {
	for _, seed := range []string{
		"goloman", presets["goloman"], presets["riley"], "Solo", "A-B", "A-B,B-A", "A-A", "A-B,C-D", "A-B,,", "A-B-C", " A - B , B-C ",
		"A-B\n# comment\n\nB-C # another\n", "A-B\r\nB-C\r\n", strings.Repeat("n", 65) + "-B", "é-B", "J-ley", "A-\x00", "goloman/riley",
	} {
		f.Add(seed)
	}
	name := regexp.MustCompile(`^[A-Za-z0-9_]{1,64}$`)
	path := filepath.Join(f.TempDir(), "edges")
	f.Fuzz(func(t *testing.T, text string) {
		spec := text
		if strings.ContainsAny(text, "/\n") {
			if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			spec = path
		}
		g, err := Load(spec)
		if err != nil {
			return
		}
		servers := g.Servers()
		if len(servers) == 0 || len(servers) > 1 && len(g.Edges()) < len(servers)-1 {
			t.Fatalf("%q has %d servers and %d edges", text, len(servers), len(g.Edges()))
		}
		for i, s := range servers {
			if !name.MatchString(s) || g.Index(s) != i || g.Adjacent(s, s) {
				t.Fatalf("%q: server %d is %q, at index %d, a neighbour of itself: %v", text, i, s, g.Index(s), g.Adjacent(s, s))
			}
		}
		if got := reachable(g); got != len(servers) {
			t.Fatalf("%q: %d of %d servers can be reached", text, got, len(servers))
		}
		if len(servers) == 1 && similarPreset(servers[0]) != "" {
			return // a file may have such a name, an edge list not
		}
		items := []string{servers[0]}
		if len(servers) > 1 {
			items = nil
			for _, e := range g.Edges() {
				items = append(items, e.B+"-"+e.A)
			}
			slices.Reverse(items)
		}
		again, err := Load(strings.Join(items, ","))
		if err != nil || again.Hash() != g.Hash() || len(again.Edges()) != len(g.Edges()) {
			t.Fatalf("%q: the graph of its edges %q: %v", text, items, err)
		}
	})
}

// reachable counts the servers that can be reached from the first one: each round over all
// edges reaches one more, or it was the last.
func reachable(g *Graph) int {
	reached := map[string]bool{g.Servers()[0]: true}
	for range g.Servers() {
		for _, e := range g.Edges() {
			if reached[e.A] || reached[e.B] {
				reached[e.A], reached[e.B] = true, true
			}
		}
	}
	return len(reached)
}
