// Package topology is the fixed, sparse graph of a herd: which servers there
// are, in which order, and between which of them records may travel. A Graph is
// valid by construction: no self-edges, one piece, well-spelt names.
package topology

import (
	"bufio"
	"errors"
	"fmt"
	"hash/fnv"
	"os"
	"slices"
	"strings"
)

// Edge is an undirected link between two servers.
type Edge struct{ A, B string }

// Graph is a herd's topology. It does not change once made.
type Graph struct {
	servers []string
	edges   []Edge
}

// presets are the herds that have names of their own.
var presets = map[string]string{
	"goloman": "Goloman-Hands,Goloman-Holiday,Goloman-Wilkes,Hands-Wilkes,Holiday-Welsh,Holiday-Wilkes",
	"riley":   "Riley-Jaquez,Riley-Juzang,Bernard-Jaquez,Bernard-Juzang,Bernard-Campbell,Juzang-Campbell",
}

// presetOrder is the servers' order where it is not the one in which the edges
// name them first.
var presetOrder = map[string][]string{
	"goloman": {"Goloman", "Hands", "Holiday", "Welsh", "Wilkes"},
	"riley":   {"Riley", "Jaquez", "Juzang", "Campbell", "Bernard"},
}

// Load reads the topology that spec names: a preset (`goloman`, `riley`); where
// it holds a `/`, a file with one edge `A-B` a line and `#` comments; or an edge
// list `A-B,B-C`. One name alone, in a list or a file, is a herd of one. Servers
// come in the order in which they are first named; presets have their own.
func Load(spec string) (*Graph, error) {
	if list, ok := presets[spec]; ok {
		return parse(strings.Split(list, ","), presetOrder[spec])
	}
	if !strings.Contains(spec, "/") {
		return parse(strings.Split(spec, ","), nil)
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

// parse makes a Graph of items, each `A-B` or, alone, `A`. All that is wrong
// with them comes back as one error.
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
			faults = append(faults, fmt.Errorf("%q is no edge: write it A-B", item))
		case !validName(a) || isEdge && !validName(b):
			faults = append(faults, fmt.Errorf("%q: a server's name is ASCII letters, digits and _", item))
		case a == b:
			faults = append(faults, fmt.Errorf("%s-%s is an edge from a server to itself", a, b))
		default:
			server(a)
			server(b)
			if !g.Adjacent(a, b) { // said twice, in either direction, it is one edge
				g.edges = append(g.edges, Edge{a, b})
			}
		}
	}
	if len(faults) > 0 {
		return nil, errors.Join(faults...)
	}
	if len(g.servers) == 0 {
		return nil, errors.New("no edges")
	}
	if apart := g.unreached(); len(apart) > 0 {
		return nil, fmt.Errorf("two unconnected parts: no way leads from %s to %s", g.servers[0], strings.Join(apart, ", "))
	}
	return g, nil
}

// unreached is the servers that no way leads to from the first.
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

// Servers is the herd's servers, in their order.
func (g *Graph) Servers() []string { return slices.Clone(g.servers) }

// Edges is the herd's edges, in the order in which they were given.
func (g *Graph) Edges() []Edge { return slices.Clone(g.edges) }

// Index is the place of a server in the order, from 0; -1 if it is none of the
// herd's.
func (g *Graph) Index(server string) int { return slices.Index(g.servers, server) }

// Neighbours is the servers at the other ends of a server's edges, in the
// herd's order.
func (g *Graph) Neighbours(server string) []string {
	var n []string
	for _, s := range g.servers {
		if g.Adjacent(server, s) {
			n = append(n, s)
		}
	}
	return n
}

// Adjacent tells whether an edge joins a and b.
func (g *Graph) Adjacent(a, b string) bool {
	return slices.Contains(g.edges, Edge{a, b}) || slices.Contains(g.edges, Edge{b, a})
}

// Hash is the same for equal sets of servers and edges, whatever their order:
// neighbours compare it before they trust each other.
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

func validName(s string) bool {
	for _, c := range []byte(s) {
		if (c < '0' || c > '9') && (c|0x20 < 'a' || c|0x20 > 'z') && c != '_' {
			return false
		}
	}
	return s != ""
}
