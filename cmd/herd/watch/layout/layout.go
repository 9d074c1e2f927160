// Package layout says where to draw the servers of a herd.
package layout

import "math"

// Point is a place in a drawing: X to the right and Y down, from 0 to 1.
type Point struct{ X, Y float64 }

// Of returns the places of servers, in their order. The edges have their names. Equal graphs have
// equal drawings.
func Of(names []string, edges [][2]string) []Point {
	points := make([]Point, len(names))
	for i := range points {
		sin, cos := math.Sincos(2 * math.Pi * float64(i) / float64(len(points)))
		points[i] = Point{.5 + .5*sin, .5 - .5*cos}
	}
	return points
}
