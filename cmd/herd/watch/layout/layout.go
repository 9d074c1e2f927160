// Package layout says where to draw the servers of a herd, as one would by hand: neighbours near each
// other, few edges that cross, no server on an edge, and symmetric where the herd is.
//
// It makes drawings whose distances are like the numbers of edges between servers (stress.go), from
// several beginnings, and takes the one with the fewest faults (faults.go). Then it turns the drawing, so that an axis
// of symmetry stands upright or lies flat (turn.go).
package layout

import (
	"math"
	"math/rand/v2"
	"slices"
)

// Point is a place in a drawing: X to the right and Y down, from 0 to 1.
type Point struct{ X, Y float64 }

func (p Point) plus(q Point) Point            { return Point{p.X + q.X, p.Y + q.Y} }
func (p Point) minus(q Point) Point           { return Point{p.X - q.X, p.Y - q.Y} }
func (p Point) times(factor float64) Point    { return Point{p.X * factor, p.Y * factor} }
func (p Point) length() float64               { return math.Hypot(p.X, p.Y) }
func (p Point) cross(q Point) float64         { return p.X*q.Y - p.Y*q.X }
func (p Point) dot(q Point) float64           { return p.X*q.X + p.Y*q.Y }
func (p Point) turned(sin, cos float64) Point { return Point{p.X*cos - p.Y*sin, p.X*sin + p.Y*cos} }

// Of returns the places of servers, in their order. The edges have their names; those of other servers are
// ignored. Equal arguments give equal drawings.
func Of(names []string, edges [][2]string) []Point {
	g := newGraph(names, edges)
	switch g.n {
	case 0:
		return nil
	case 1:
		return []Point{{.5, .5}}
	}
	var best []Point
	least := math.Inf(1)
	for _, begin := range g.beginnings() {
		points := g.relax(begin)
		g.improve(points)
		// Nearly equal drawings have the same faults: the first is taken.
		if faults := g.faults(points); faults < least-1e-3 {
			best, least = points, faults
		}
	}
	return g.fit(g.turn(best))
}

// graph is servers as numbers.
type graph struct {
	n        int
	edges    [][2]int
	adjacent [][]int
	distance [][]float64 // edges on the shortest path
}

func newGraph(names []string, edges [][2]string) *graph {
	g := &graph{n: len(names), adjacent: make([][]int, len(names))}
	index := map[string]int{}
	for i, name := range names {
		index[name] = i
	}
	for _, e := range edges {
		a, known := index[e[0]]
		b, also := index[e[1]]
		if known && also && a != b && !slices.Contains(g.adjacent[a], b) {
			g.edges = append(g.edges, [2]int{min(a, b), max(a, b)})
			g.adjacent[a], g.adjacent[b] = append(g.adjacent[a], b), append(g.adjacent[b], a)
		}
	}
	slices.SortFunc(g.edges, func(a, b [2]int) int { return slices.Compare(a[:], b[:]) })
	for i := range g.adjacent {
		slices.Sort(g.adjacent[i])
	}
	g.measure()
	return g
}

// measure measures all distances. Servers that no edges connect are one further apart than any others.
func (g *graph) measure() {
	longest := 0.
	for from := range g.n {
		row := make([]float64, g.n)
		for i := range row {
			row[i] = math.Inf(1)
		}
		row[from] = 0
		for queue := []int{from}; len(queue) > 0; queue = queue[1:] {
			for _, next := range g.adjacent[queue[0]] {
				if math.IsInf(row[next], 1) {
					row[next] = row[queue[0]] + 1
					longest = max(longest, row[next])
					queue = append(queue, next)
				}
			}
		}
		g.distance = append(g.distance, row)
	}
	for _, row := range g.distance {
		for i := range row {
			row[i] = min(row[i], longest+1)
		}
	}
}

// beginnings are the drawings to begin with: circles in several orders, and points at random. There
// are fewer of them for large graphs.
func (g *graph) beginnings() (all [][]Point) {
	count := min(24, max(2, 300/g.n))
	random := rand.New(rand.NewPCG(1, uint64(g.n)))
	for i := range count {
		var points []Point
		switch {
		case i == 0:
			points = circle(g.n, identity(g.n))
		case i <= count/3:
			points = circle(g.n, g.walk((i-1)%g.n))
		default:
			for range g.n {
				points = append(points, Point{random.Float64(), random.Float64()}.times(math.Sqrt(float64(g.n))))
			}
		}
		all = append(all, points)
	}
	return all
}

func identity(n int) (order []int) {
	for i := range n {
		order = append(order, i)
	}
	return order
}

// walk is the servers in the order of a walk in depth, from one of them.
func (g *graph) walk(from int) (order []int) {
	seen := make([]bool, g.n)
	var visit func(int)
	visit = func(i int) {
		seen[i] = true
		order = append(order, i)
		for _, next := range g.adjacent[i] {
			if !seen[next] {
				visit(next)
			}
		}
	}
	visit(from)
	for i := range g.n {
		if !seen[i] {
			visit(i)
		}
	}
	return order
}

// circle puts servers on a circle.
func circle(n int, order []int) []Point {
	points := make([]Point, n)
	radius := float64(n) / (2 * math.Pi)
	for i, server := range order {
		sin, cos := math.Sincos(2 * math.Pi * float64(i) / float64(n))
		points[server] = Point{radius * sin, -radius * cos}
	}
	return points
}
