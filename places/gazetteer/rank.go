package gazetteer

import "herd/places"

// hit is a row within the circle of a query.
type hit struct {
	row        int   // in index.rows
	mm         int64 // distance in millimetres
	prominence int64 // scaled; only for comparison
}

// halfDistance is the distance in millimetres at which a place has half its prominence.
const halfDistance = 1_000_000

// prominence returns the rank of a place with that weight at a distance in millimetres. It cannot overflow, since weights
// are less than 2^32.
func prominence(weight, mm int64) int64 {
	return weight * (1000 * halfDistance) / (halfDistance + mm)
}

// weight returns the prominence of row i at distance 0.
func (ix *index) weight(i int) int64 {
	r := &ix.rows[i]
	return max(int64(r.population), ix.classes[r.class].weight)
}

// before reports whether h comes before g in a response.
func (ix *index) before(h, g hit) bool {
	switch {
	case h.prominence != g.prominence:
		return h.prominence > g.prominence
	case h.mm != g.mm:
		return h.mm < g.mm
	}
	return ix.id(h.row) < ix.id(g.row)
}

// ranking holds the best hits so far, best first.
type ranking struct {
	hits [places.MaxBound]hit
	n    int
}

func (r *ranking) best() []hit { return r.hits[:r.n] }

// search returns the best q.Bound places in q's circle. It does not allocate.
func (ix *index) search(q places.Query) (best ranking) {
	for i, mm := range ix.within(q.Lat, q.Lon, q.Radius) {
		best.add(ix, q.Bound, hit{i, mm, prominence(ix.weight(i), mm)})
	}
	return best
}

// add inserts h if it is among the best bound hits so far.
func (r *ranking) add(ix *index, bound int, h hit) {
	if r.n == bound {
		if bound == 0 || !ix.before(h, r.hits[bound-1]) {
			return
		}
		r.n--
	}
	i := r.n
	for ; i > 0 && ix.before(h, r.hits[i-1]); i-- {
		r.hits[i] = r.hits[i-1]
	}
	r.hits[i] = h
	r.n++
}
