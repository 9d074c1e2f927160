package layout

import (
	"math"
	"slices"
)

const (
	// steps is how many directions of an axis are tried.
	steps = 360
	// symmetric is how far, in edges' lengths, a server of a symmetric drawing may be from the mirror
	// image of another, on average.
	symmetric = .08
	// onAxis is how far a server may be from an axis on which it is.
	onAxis = .12
)

// turn turns and mirrors a drawing. An axis of symmetry with several servers on it lies flat, so that they are a
// row, and another one stands upright, with the broad side of the drawing below. Without an axis, the long side
// lies flat.
func (g *graph) turn(points []Point) []Point {
	points = centred(points)
	angle, row, found := axis(points)
	upright := false
	if !found {
		points = turned(points, -longSide(points))
	} else {
		points = turned(points, -angle)
		if upright = row < 3 && g.n > 2; upright {
			points = turned(points, math.Pi/2)
		}
		settle(points, upright)
	}
	// The first servers are on the left, and above unless the broad side must be below.
	if i := slices.IndexFunc(points, func(p Point) bool { return math.Abs(p.X) > onAxis }); i >= 0 && points[i].X > 0 {
		mirror(points, Point{-1, 1})
	}
	down := false
	if upright {
		down = broadSideAbove(points)
	} else if i := slices.IndexFunc(points, func(p Point) bool { return math.Abs(p.Y) > onAxis }); i >= 0 {
		down = points[i].Y > 0
	}
	if down {
		mirror(points, Point{1, -1})
	}
	return points
}

// axis finds the axis of symmetry with the most servers on it, and returns its angle and their number.
func axis(points []Point) (angle float64, row int, found bool) {
	least := symmetric
	for i := range steps {
		a := math.Pi * float64(i) / steps
		drawing := turned(points, -a)
		off := asymmetry(drawing)
		if off > symmetric {
			continue
		}
		on := 0
		for _, p := range drawing {
			if math.Abs(p.Y) < onAxis {
				on++
			}
		}
		if !found || on > row || on == row && off < least-1e-9 {
			angle, row, least, found = a, on, off, true
		}
	}
	return angle, row, found
}

// settle makes a drawing that is nearly symmetric symmetric, about the X axis, or the Y axis if it is upright.
func settle(points []Point, upright bool) {
	image := func(p Point) Point {
		if upright {
			return Point{-p.X, p.Y}
		}
		return Point{p.X, -p.Y}
	}
	nearest := func(to Point) int {
		best := 0
		for i, p := range points {
			if p.minus(to).length() < points[best].minus(to).length() {
				best = i
			}
		}
		return best
	}
	settled := slices.Clone(points)
	for i, p := range points {
		if j := nearest(image(p)); nearest(image(points[j])) == i {
			settled[i] = p.plus(image(points[j])).times(.5)
		}
	}
	copy(points, settled)
}

// asymmetry is how far servers are from the mirror images of others about the X axis, on average.
func asymmetry(points []Point) float64 {
	sum := 0.
	for _, p := range points {
		nearest := math.Inf(1)
		for _, q := range points {
			nearest = min(nearest, q.minus(Point{p.X, -p.Y}).length())
		}
		sum += nearest
	}
	return sum / float64(len(points))
}

// longSide is the angle of the direction in which a drawing is longest.
func longSide(points []Point) float64 {
	var xx, xy, yy float64
	for _, p := range points {
		xx, xy, yy = xx+p.X*p.X, xy+p.X*p.Y, yy+p.Y*p.Y
	}
	return math.Atan2(2*xy, xx-yy) / 2
}

// broadSideAbove reports whether the upper end of a drawing is broader than the lower one.
func broadSideAbove(points []Point) bool {
	top, bottom := math.Inf(1), math.Inf(-1)
	for _, p := range points {
		top, bottom = min(top, p.Y), max(bottom, p.Y)
	}
	width := func(y float64) float64 {
		least, most := math.Inf(1), math.Inf(-1)
		for _, p := range points {
			if math.Abs(p.Y-y) < onAxis {
				least, most = min(least, p.X), max(most, p.X)
			}
		}
		return most - least
	}
	return width(top) > width(bottom)+onAxis
}

func turned(points []Point, angle float64) (all []Point) {
	sin, cos := math.Sincos(angle)
	for _, p := range points {
		all = append(all, p.turned(sin, cos))
	}
	return all
}

func mirror(points []Point, factor Point) {
	for i := range points {
		points[i].X *= factor.X
		points[i].Y *= factor.Y
	}
}

// centred moves the middle of a drawing to 0.
func centred(points []Point) (all []Point) {
	var sum Point
	for _, p := range points {
		sum = sum.plus(p)
	}
	for _, p := range points {
		all = append(all, p.minus(sum.times(1/float64(len(points)))))
	}
	return all
}

// fit makes a drawing fill its longer side, and more of the shorter one than it would by itself.
func (g *graph) fit(points []Point) []Point {
	const stretch = 1.4
	low, high := points[0], points[0]
	for _, p := range points {
		low, high = Point{min(low.X, p.X), min(low.Y, p.Y)}, Point{max(high.X, p.X), max(high.Y, p.Y)}
	}
	size := high.minus(low)
	longer := max(size.X, size.Y)
	scale := func(side float64) float64 {
		if side < 1e-6 {
			return 0
		}
		return min(1, stretch*side/longer) / side
	}
	factor := Point{scale(size.X), scale(size.Y)}
	middle := low.plus(high).times(.5)
	fitted := make([]Point, len(points))
	for i, p := range points {
		p = p.minus(middle)
		fitted[i] = Point{round(.5 + p.X*factor.X), round(.5 + p.Y*factor.Y)}
	}
	return fitted
}

// round keeps four decimals: drawings that differ by less are the same on all machines.
func round(x float64) float64 { return math.Round(x*1e4) / 1e4 }
