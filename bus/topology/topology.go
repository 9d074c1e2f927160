// Package topology is the fixed, sparse graph of a herd: its servers, in an order, and the
// edges over which they send each other records. A Graph is valid by construction: it is
// connected, no edge joins a server to itself, and all names are well formed.
package topology

import (
	"bufio"
	"errors"
	"fmt"
	"hash/fnv"
	"maps"
	"os"
	"slices"
	"strings"
)

// Edge is an undirected link between two servers.
type Edge struct{ A, B string }

// Pair is two servers without an order, as a key of maps: Pair(a, b) is Pair(b, a).
func Pair(a, b string) [2]string { return [2]string{min(a, b), max(a, b)} }

// Graph is the topology of a herd. It is immutable.
type Graph struct {
	servers []string
	edges   []Edge
}

// presets are the named topologies, as edge lists.
var presets = map[string]string{
	"goloman": "Goloman-Hands,Goloman-Holiday,Goloman-Wilkes,Hands-Wilkes,Holiday-Welsh,Holiday-Wilkes",
	"riley":   "Riley-Jaquez,Riley-Juzang,Bernard-Jaquez,Bernard-Juzang,Bernard-Campbell,Juzang-Campbell",
}

// presetOrder is the order of the servers of a preset, which differs from the order in
// its edge list.
var presetOrder = map[string][]string{
	"goloman": {"Goloman", "Hands", "Holiday", "Welsh", "Wilkes"},
	"riley":   {"Riley", "Jaquez", "Juzang", "Campbell", "Bernard"},
}

// Load returns the topology that spec describes: a preset (`goloman`, `riley`); the path
// of a file, if it contains a `/`, with one edge `A-B` per line and `#` comments; or an
// edge list `A-B,B-C`. A single name, in a list or a file, is a herd of one server. The
// servers are in the order in which the edges name them first; presets have their own
// order. A word that is a preset except for case or one or two letters is an error, not a
// herd of one. An error names every fault, one per line.
func Load(spec string) (*Graph, error) {
	if list, ok := presets[spec]; ok {
		return parse(strings.Split(list, ","), presetOrder[spec])
	}
	if !strings.Contains(spec, "/") {
		if preset := similarPreset(spec); preset != "" {
			return nil, fmt.Errorf("%q is not a topology: did you mean %s?", spec, preset)
		}
		g, err := parse(strings.Split(spec, ","), nil)
		if err != nil && strings.Contains(spec, ".") {
			err = fmt.Errorf("%w; a file needs a /, such as ./%s", err, spec)
		}
		return g, err
	}
	items, err := readFile(spec)
	if err != nil {
		return nil, err
	}
	g, err := parse(items, nil)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", spec, err)
	}
	return g, nil
}

// similarPreset is the preset that differs from a word in case and in at most two letters; ""
// if there is none. A list of edges is no such word.
func similarPreset(word string) string {
	const most = 2
	if strings.ContainsAny(word, "-,") {
		return ""
	}
	for _, preset := range slices.Sorted(maps.Keys(presets)) {
		if Distance(strings.ToLower(word), preset) <= most {
			return preset
		}
	}
	return ""
}

// Distance is the number of letters to insert, remove or replace to make one word of another.
func Distance(a, b string) int {
	row := make([]int, len(b)+1) // for the letters of a so far: the distance to each beginning of b
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			replaced := diagonal
			if a[i] != b[j] {
				replaced++
			}
			diagonal = row[j+1]
			row[j+1] = min(replaced, diagonal+1, row[j]+1)
		}
	}
	return row[len(b)]
}

func readFile(path string) (items []string, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		line, _, _ := strings.Cut(lines.Text(), "#")
		if line = strings.TrimSpace(line); line != "" {
			items = append(items, line)
		}
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return items, nil
}

// parse returns the graph of items, each an edge `A-B`, or of a single server `A`. The
// graph's order begins with order.
func parse(items, order []string) (*Graph, error) {
	g := &Graph{servers: slices.Clone(order)}
	var faults []error
	server := func(name string) {
		if !slices.Contains(g.servers, name) {
			g.servers = append(g.servers, name)
		}
	}
	for _, item := range items {
		a, b, isEdge := strings.Cut(item, "-")
		a, b = strings.TrimSpace(a), strings.TrimSpace(b)
		switch {
		case !isEdge && validName(a) && len(items) == 1:
			server(a)
		case !isEdge && validName(a):
			faults = append(faults, fmt.Errorf("%q is not an edge: write A-B", item))
		case !validName(a) || isEdge && !validName(b):
			faults = append(faults, fmt.Errorf("%q is not an edge such as A-B: a server's name must consist of ASCII letters, digits and _, %d at most", item, maxName))
		case a == b:
			faults = append(faults, fmt.Errorf("%s-%s joins a server to itself", a, b))
		default:
			server(a)
			server(b)
			if !g.Adjacent(a, b) { // a repeated edge, in either direction, is one edge
				g.edges = append(g.edges, Edge{a, b})
			}
		}
	}
	if len(faults) > 0 {
		return nil, errors.Join(faults...)
	}
	if len(g.servers) == 0 {
		return nil, errors.New("no edges: write A-B, or the name of a single server")
	}
	if unreached := g.unreached(); len(unreached) > 0 {
		return nil, fmt.Errorf("not connected: no path from %s to %s", g.servers[0], strings.Join(unreached, ", "))
	}
	return g, nil
}

// unreached returns the servers without a path from the first server.
func (g *Graph) unreached() []string {
	reached := map[string]bool{g.servers[0]: true}
	for queue := g.servers[:1]; len(queue) > 0; queue = queue[1:] {
		for _, n := range g.Neighbours(queue[0]) {
			if !reached[n] {
				reached[n] = true
				queue = append(slices.Clip(queue), n)
			}
		}
	}
	return slices.DeleteFunc(g.Servers(), func(s string) bool { return reached[s] })
}

// With returns the graph with the servers and edges of both g and other.
func (g *Graph) With(other *Graph) *Graph {
	both := &Graph{servers: slices.Clone(g.servers), edges: slices.Clone(g.edges)}
	for _, s := range other.servers {
		if !slices.Contains(both.servers, s) {
			both.servers = append(both.servers, s)
		}
	}
	for _, e := range other.edges {
		if !both.Adjacent(e.A, e.B) {
			both.edges = append(both.edges, e)
		}
	}
	return both
}

// Servers returns the servers in their order.
func (g *Graph) Servers() []string { return slices.Clone(g.servers) }

// Edges returns the edges in the order in which they were given.
func (g *Graph) Edges() []Edge { return slices.Clone(g.edges) }

// Index returns the index of a server in the order; -1 if it is not in the graph.
func (g *Graph) Index(server string) int { return slices.Index(g.servers, server) }

// Neighbours returns the servers at the other ends of a server's edges, in the order of
// the herd.
func (g *Graph) Neighbours(server string) []string {
	var n []string
	for _, s := range g.servers {
		if g.Adjacent(server, s) {
			n = append(n, s)
		}
	}
	return n
}

// Adjacent reports whether an edge joins a and b.
func (g *Graph) Adjacent(a, b string) bool {
	return slices.Contains(g.edges, Edge{a, b}) || slices.Contains(g.edges, Edge{b, a})
}

// Hash returns a hash of the servers and edges that does not depend on their order.
// Neighbours compare it to detect different topologies.
func (g *Graph) Hash() uint64 {
	lines := g.Servers()
	for _, e := range g.edges {
		lines = append(lines, min(e.A, e.B)+"-"+max(e.A, e.B))
	}
	slices.Sort(lines)
	h := fnv.New64a()
	for _, l := range lines {
		fmt.Fprintln(h, l)
	}
	return h.Sum64()
}

// maxName is the most bytes of a server's name. Package wire has the same bound for the
// names in records (wire.MaxServer).
const maxName = 64

// validName reports whether s is a server's name. Package wire has the same rule for the
// names in records.
func validName(s string) bool {
	for _, c := range []byte(s) {
		if (c < '0' || c > '9') && (c|0x20 < 'a' || c|0x20 > 'z') && c != '_' {
			return false
		}
	}
	return s != "" && len(s) <= maxName
}
