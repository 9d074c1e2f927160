package layout

// relax moves the servers of a drawing until their distances are as much like the numbers of edges between
// them as they can get. Near servers count more than distant ones. (Stress majorization: each server in turn
// goes to the average of the places where the others want it.)
func (g *graph) relax(begin []Point) []Point {
	points := append([]Point(nil), begin...)
	for range min(4000, 20_000/g.n) {
		moved := 0.
		for i := range points {
			var sum Point
			weights := 0.
			for j := range points {
				if i == j {
					continue
				}
				d := g.distance[i][j]
				w := 1 / (d * d)
				away := points[i].minus(points[j])
				length := away.length()
				if length < 1e-9 { // at the same place: any direction will do, but always the same
					away, length = Point{1, float64(i-j) / 7}, 1
				}
				sum = sum.plus(points[j].plus(away.times(d / length)).times(w))
				weights += w
			}
			next := sum.times(1 / weights)
			moved = max(moved, next.minus(points[i]).length())
			points[i] = next
		}
		if moved < 1e-6 {
			break
		}
	}
	return points
}

// stress is how much the distances of a drawing differ from the numbers of edges, for a pair on average.
func (g *graph) stress(points []Point) float64 {
	sum := 0.
	for i := range points {
		for j := range i {
			d := g.distance[i][j]
			difference := (points[i].minus(points[j]).length() - d) / d
			sum += difference * difference
		}
	}
	return sum / float64(g.n*(g.n-1)/2)
}
