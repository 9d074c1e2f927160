package gazetteer

import "herd/places"

// hit is a row within the circle.
type hit struct {
	at         int   // in index.rows
	mm         int64 // its distance
	prominence int64 // scaled; only for comparing
}

// halving is the distance, in millimetres, that halves a place's prominence.
const halving = 1_000_000

// prominence ranks a place of that weight at a distance in millimetres. Weights are less than 2^32, so it cannot
// overflow.
func prominence(weight, mm int64) int64 {
	return weight * (1000 * halving) / (halving + mm)
}

// weight is the prominence of row i where it stands.
func (ix *index) weight(i int) int64 {
	r := &ix.rows[i]
	return max(int64(r.people), ix.classes[r.class].weight)
}

// before reports whether h comes before g in an answer.
func (ix *index) before(h, g hit) bool {
	switch {
	case h.prominence != g.prominence:
		return h.prominence > g.prominence
	case h.mm != g.mm:
		return h.mm < g.mm
	}
	return ix.id(h.at) < ix.id(g.at)
}

// ranking holds the best hits so far, best first.
type ranking struct {
	hits [places.MaxBound]hit
	n    int
}

func (r *ranking) best() []hit { return r.hits[:r.n] }

// search ranks the places of q's circle and keeps the best q.Bound, without allocating.
func (ix *index) search(q places.Query) (best ranking) {
	for i, mm := range ix.within(q.Lat, q.Lon, q.Radius) {
		best.add(ix, q.Bound, hit{i, mm, prominence(ix.weight(i), mm)})
	}
	return best
}

// add puts h in its place if it is one of the best bound so far.
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
