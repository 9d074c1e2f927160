package layout

import (
	"fmt"
	"math"
	"math/rand/v2"
	"reflect"
	"testing"

	"herd/bus/topology"
)

func load(t *testing.T, spec string) (names []string, edges [][2]string) {
	t.Helper()
	g, err := topology.Load(spec)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range g.Edges() {
		edges = append(edges, [2]string{e.A, e.B})
	}
	return g.Servers(), edges
}

// measures are what one sees in a drawing.
type measures struct {
	crossings       int
	servers, toEdge float64 // the least distances between servers, and of a server from an edge of others
	off             float64 // from the mirror image about the best axis
}

func measure(names []string, edges [][2]string, points []Point) measures {
	g, m := newGraph(names, edges), measures{servers: math.Inf(1), toEdge: math.Inf(1)}
	for k, e := range g.edges {
		for _, other := range g.edges[:k] {
			if g.crosses(points, e, other) {
				m.crossings++
			}
		}
		for i := range points {
			if i != e[0] && i != e[1] {
				m.toEdge = min(m.toEdge, toSegment(points[i], points[e[0]], points[e[1]]))
			}
		}
	}
	for i := range points {
		for j := range i {
			m.servers = min(m.servers, points[i].minus(points[j]).length())
		}
	}
	flat := centred(points)
	m.off = min(asymmetry(flat), asymmetry(turned(flat, math.Pi/2)))
	return m
}

// TestPresets: the presets look as one would draw them by hand: no edges cross, nothing is near anything
// else, and they are symmetric about an axis that stands upright or lies flat.
func TestPresets(t *testing.T) {
	t.Parallel()
	for _, preset := range []string{"goloman", "riley"} {
		names, edges := load(t, preset)
		points := Of(names, edges)
		if m := measure(names, edges, points); m.crossings > 0 || m.servers < .3 || m.toEdge < .3 || m.off > .001 {
			t.Errorf("%s: %+v in %v", preset, m, points)
		}
	}
	names, edges := load(t, "goloman")
	at := map[string]Point{}
	for i, p := range Of(names, edges) {
		at[names[i]] = p
	}
	if !(at["Hands"].X < at["Goloman"].X && at["Goloman"].X < at["Holiday"].X && at["Holiday"].X < at["Welsh"].X && at["Goloman"].Y < at["Wilkes"].Y) {
		t.Errorf("goloman: %v, want a diamond with a tail to the right", at)
	}
	names, edges = load(t, "riley")
	for i, p := range Of(names, edges) {
		at[names[i]] = p
	}
	if !(at["Campbell"].Y < at["Bernard"].Y && at["Bernard"].Y < at["Jaquez"].Y) {
		t.Errorf("riley: %v, want a house with its roof above", at)
	}
}

// TestManyServers: 50 servers are apart and within the drawing, and equal herds have equal drawings.
func TestManyServers(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(3, 3))
	var names []string
	var tree, dense [][2]string
	for i := range 50 {
		names = append(names, fmt.Sprint("S", i))
		if i > 0 {
			tree = append(tree, [2]string{names[random.IntN(i)], names[i]})
		}
	}
	dense = append(dense, tree...)
	for range 25 {
		dense = append(dense, [2]string{names[random.IntN(50)], names[random.IntN(50)]})
	}
	for what, edges := range map[string][][2]string{"tree": tree, "dense": dense} {
		points := Of(names, edges)
		m := measure(names, edges, points)
		if m.servers < .04 || m.toEdge < .02 || what == "tree" && m.crossings > 0 || m.crossings > 30 {
			t.Errorf("%s: %+v", what, m)
		}
		for _, p := range points {
			if !(p.X >= 0 && p.X <= 1 && p.Y >= 0 && p.Y <= 1) {
				t.Errorf("%s: a server at %v", what, p)
			}
		}
		if !reflect.DeepEqual(points, Of(names, edges)) {
			t.Errorf("%s: the drawing is another one each time", what)
		}
	}
}

// TestSmall: the smallest herds, parts that no edge connects, and edges of servers that are not there.
func TestSmall(t *testing.T) {
	t.Parallel()
	if got := Of(nil, nil); len(got) != 0 {
		t.Errorf("no servers: %v", got)
	}
	if got := Of([]string{"A"}, nil); !reflect.DeepEqual(got, []Point{{.5, .5}}) {
		t.Errorf("one server: %v", got)
	}
	if got := Of([]string{"A", "B"}, [][2]string{{"A", "B"}, {"B", "A"}, {"A", "A"}, {"A", "C"}}); !reflect.DeepEqual(got, []Point{{0, .5}, {1, .5}}) {
		t.Errorf("two servers: %v", got)
	}
	names, edges := load(t, "A-B,B-C,C-D,D-E")
	for i, p := range Of(names, edges) {
		if math.Abs(p.X-float64(i)/4) > .01 || p.Y != .5 {
			t.Errorf("a path: server %d is at %v", i, p)
		}
	}
	names, edges = []string{"A", "B", "C", "D"}, [][2]string{{"A", "B"}, {"C", "D"}}
	if m := measure(names, edges, Of(names, edges)); m.servers < .2 || m.crossings > 0 {
		t.Errorf("two parts: %+v", m)
	}
}

// TestPlanar: graphs that can be drawn without crossings, and are small, are drawn so.
func TestPlanar(t *testing.T) {
	t.Parallel()
	for what, spec := range map[string]string{
		"prism": "A-B,B-C,C-A,D-E,E-F,F-D,A-D,B-E,C-F",
		"cube":  "A-B,B-C,C-D,D-A,E-F,F-G,G-H,H-E,A-E,B-F,C-G,D-H",
		"wheel": "H-A,H-B,H-C,H-D,H-E,A-B,B-C,C-D,D-E,E-A",
		"K2,3":  "A-B,A-C,A-D,B-E,C-E,D-E",
	} {
		names, edges := load(t, spec)
		points := Of(names, edges)
		if m := measure(names, edges, points); m.crossings > 0 || m.servers < .2 || m.toEdge < .1 {
			t.Errorf("%s: %+v in %v", what, m, points)
		}
	}
}
