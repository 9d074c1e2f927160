package layout

import (
	"math"
	"math/rand/v2"
)

// The faults of a drawing, in edges' lengths.
const (
	nearEdge   = .45 // a server nearer to an edge of others looks as if it were on it
	nearServer = .6  // two servers nearer to each other are hard to tell apart

	crossingCost = 1.
	nearCost     = 4.
)

// faults is how bad a drawing is.
func (g *graph) faults(points []Point) float64 {
	sum := g.stress(points)
	for k, e := range g.edges {
		for _, other := range g.edges[:k] {
			if g.crosses(points, e, other) {
				sum += crossingCost
			}
		}
		for i := range points {
			sum += g.onEdge(points, i, e)
		}
	}
	for i := range points {
		for j := range i {
			sum += tooNear(points[i].minus(points[j]).length(), nearServer)
		}
	}
	return sum
}

// tooNear is the fault of a distance that is less than it should be.
func tooNear(distance, least float64) float64 {
	if distance >= least {
		return 0
	}
	lack := 1 - distance/least
	return nearCost * lack * lack
}

// onEdge is the fault of a server that is near an edge of others.
func (g *graph) onEdge(points []Point, i int, e [2]int) float64 {
	if i == e[0] || i == e[1] {
		return 0
	}
	return tooNear(toSegment(points[i], points[e[0]], points[e[1]]), nearEdge)
}

// toSegment is the distance of a point from the line between two.
func toSegment(p, a, b Point) float64 {
	along := b.minus(a)
	length := along.dot(along)
	if length == 0 {
		return p.minus(a).length()
	}
	at := min(1, max(0, p.minus(a).dot(along)/length))
	return p.minus(a.plus(along.times(at))).length()
}

// crosses reports whether two edges cross. Those with a common server do not.
func (g *graph) crosses(points []Point, e, f [2]int) bool {
	if e[0] == f[0] || e[0] == f[1] || e[1] == f[0] || e[1] == f[1] {
		return false
	}
	a, b, c, d := points[e[0]], points[e[1]], points[f[0]], points[f[1]]
	side := func(p, q, r Point) bool { return q.minus(p).cross(r.minus(p)) > 0 }
	return side(a, b, c) != side(a, b, d) && side(c, d, a) != side(c, d, b)
}

// improve moves single servers of a drawing with crossings, or with servers that are too near, while that
// makes it better. Other drawings stay as symmetric as they are.
func (g *graph) improve(points []Point) {
	if g.faults(points)-g.stress(points) < 1e-3 {
		return
	}
	random := rand.New(rand.NewPCG(2, uint64(g.n)))
	tries := min(4000, 100_000/(g.n+len(g.edges)))
	for try := range tries {
		i := random.IntN(g.n)
		reach := 2 * (1 - float64(try)/float64(tries))
		sin, cos := math.Sincos(2 * math.Pi * random.Float64())
		before, old := g.faultsOf(points, i), points[i]
		points[i] = old.plus(Point{cos, sin}.times(reach * random.Float64()))
		if g.faultsOf(points, i) >= before {
			points[i] = old
		}
	}
}

// faultsOf is the part of the faults that depends on the place of one server.
func (g *graph) faultsOf(points []Point, i int) float64 {
	sum := 0.
	for j := range points {
		if j != i {
			distance := points[i].minus(points[j]).length()
			d := g.distance[i][j]
			difference := (distance - d) / d
			sum += difference*difference/float64(g.n*(g.n-1)/2) + tooNear(distance, nearServer)
		}
	}
	for _, e := range g.edges {
		own := e[0] == i || e[1] == i
		if !own {
			sum += g.onEdge(points, i, e)
			continue
		}
		for _, other := range g.edges {
			if g.crosses(points, e, other) {
				sum += crossingCost
			}
		}
		for j := range points {
			sum += g.onEdge(points, j, e)
		}
	}
	return sum
}
