package nearest

import (
	"bytes"
	"math"
	"slices"

	"herd/node/geo"
	"herd/node/store"
)

// Source has the clients' records.
type Source interface {
	// Prefetch is called before Position is called for these clients. It changes nothing but
	// the time that this takes.
	Prefetch(ids []store.ID)
	// Position is where a client is, and how many bytes had to be read; ok is false if it is
	// nowhere.
	Position(id store.ID) (p geo.Point, size int, ok bool)
	// Client is the client's name, which never changes. The slice is valid until a record
	// changes.
	Client(id store.ID) []byte
}

// Result is a client that was found.
type Result struct {
	ID store.ID
	KM float64 // its distance
}

// Search looks for the nearest clients. It is done by calls of Continue. If the index may
// change between two of them, it must be one that NewLong made, and Changed must be called.
type Search struct {
	index  *Index
	source Source
	origin geo.Origin
	km     float64
	limit  int // results that are wanted
	keep   int // results that are kept

	areas heap[area]   // that have not been looked at, the nearest first
	best  heap[Result] // the worst first
	reach reach        // what is of interest
	work  int          // left of the budget
	found []found      // clients of cells in reach whose records have not been read
	read  []store.ID   // of them, those that are read now

	// In a search that New made: the haversines of the nearest cells with clients, the farthest
	// first. They lower the reach before records are read, so that fewer are.
	cells heap[float64]

	members map[store.ID]bool // the clients in best; nil in a search that New made
	// lost is no worse than any client that was found and is not in best; nil if there is none.
	lost *candidate
}

// found is a client whose record has not been read.
type found struct {
	id        store.ID
	haversine float64 // of the centre of its cell
}

// unread is how many more records than results wait to be read, at most.
const unread = 200

// The units of work. One is about 30 ns, while records are not in the processor's caches.
const (
	areaWork  = 8  // to halve an area
	exactWork = 8  // to read a position
	BytesWork = 32 // bytes of a record
)

// spare is how many results a long search keeps in addition, at least.
const spare = 100

// New makes a Search for the clients that are at most km from a point: the nearest limit
// ones. The index must not change meanwhile.
func New(x *Index, source Source, from geo.Point, km float64, limit int) *Search {
	return newSearch(x, source, from, km, limit, limit)
}

// NewLong makes a Search that goes on while the index changes. It keeps more results than are
// wanted, for clients that leave. So it does more work.
func NewLong(x *Index, source Source, from geo.Point, km float64, limit int) *Search {
	s := newSearch(x, source, from, km, limit, limit+limit/2+spare)
	s.members = map[store.ID]bool{}
	return s
}

func newSearch(x *Index, source Source, from geo.Point, km float64, limit, keep int) *Search {
	s := &Search{index: x, source: source, origin: geo.From(from), km: km, limit: limit, keep: keep, found: make([]found, 0, 64)}
	s.best = heap[Result]{make([]Result, 0, keep), func(a, b Result) bool { return s.better(b, a) }}
	s.areas = heap[area]{make([]area, 0, 64), func(a, b area) bool { return a.bound < b.bound }}
	s.areas.push(area{end: 1 << curveBits})
	s.cells = heap[float64]{make([]float64, 0, keep), func(a, b float64) bool { return a > b }}
	s.reach = s.reachOf(km)
	return s
}

// better reports whether a comes before b in the answer.
func (s *Search) better(a, b Result) bool {
	if a.KM != b.KM {
		return a.KM < b.KM
	}
	return a.ID != b.ID && bytes.Compare(s.source.Client(a.ID), s.source.Client(b.ID)) < 0
}

// candidate is what decides the order of results. It outlives the record.
type candidate struct {
	km     float64
	client []byte
}

func (s *Search) candidate(r Result) candidate {
	return candidate{r.KM, bytes.Clone(s.source.Client(r.ID))}
}

func (a candidate) better(b candidate) bool {
	return a.km < b.km || a.km == b.km && bytes.Compare(a.client, b.client) < 0
}

// Continue searches until it is done, or has done a budget of work: a unit is some 30 ns. The
// last block of clients may exceed the budget. left is what is left of it.
func (s *Search) Continue(budget int) (left int, done bool) {
	s.work = budget
	for s.work > 0 {
		if len(s.areas.list) == 0 || s.areas.list[0].bound > s.reach.km {
			s.readFound()
			return s.work, true
		}
		s.lookAt(s.areas.pop())
	}
	return s.work, false
}

// Results returns the results, the nearest first. complete is false if it is not known
// whether one that was left out is better, because too many clients left: then the search
// must begin anew.
func (s *Search) Results() (list []Result, complete bool) {
	list = slices.Clone(s.best.list)
	slices.SortFunc(list, func(a, b Result) int {
		switch {
		case s.better(a, b):
			return -1
		case a.ID == b.ID:
			return 0
		}
		return 1
	})
	if s.lost != nil && (len(list) < s.limit || !s.candidate(list[s.limit-1]).better(*s.lost)) {
		return nil, false
	}
	return list[:min(s.limit, len(list))], true
}

// Changed must be called after a client's place in the index has been set or removed. Its
// work counts in no budget.
func (s *Search) Changed(id store.ID) {
	if s.members[id] {
		s.remove(id)
	}
	s.consider(id)
}

func (s *Search) full() bool { return len(s.best.list) >= s.keep }

// consider makes a client a result if it is one. It is not a result yet.
func (s *Search) consider(id store.ID) {
	p, size, ok := s.source.Position(id)
	s.work -= exactWork + size/BytesWork
	if !ok {
		return
	}
	r := Result{id, s.origin.Distance(p)}
	switch {
	case r.KM > s.km:
		return
	case !s.full():
		s.best.push(r)
	case s.better(r, s.best.list[0]):
		delete(s.members, s.best.list[0].ID)
		s.best.list[0] = r
		s.best.fix(0)
	default:
		return
	}
	if s.members != nil {
		s.members[id] = true
	}
	if s.full() {
		s.reach.lower(s, s.best.list[0].KM)
	}
}

// remove removes a client from the results. If they are full, others may have been left out:
// none better than the worst of them.
func (s *Search) remove(id store.ID) {
	if s.full() {
		if worst := s.candidate(s.best.list[0]); s.lost == nil || worst.better(*s.lost) {
			s.lost = &worst
		}
	}
	delete(s.members, id)
	s.best.remove(slices.IndexFunc(s.best.list, func(r Result) bool { return r.ID == id }))
	s.reach = s.reachOf(s.km)
}

// area is a part of the Earth that has not been looked at: the cells whose first bits are
// those of from.z, from the key from on, and below end.
type area struct {
	bound float64 // no point is nearer
	from  key
	end   uint64
	bits  int
}

func (a area) last() key { return key{a.end - 1, math.MaxUint32} }

// lookAt looks at the clients of an area that few blocks hold. It halves one with more, goes
// on with the half that is nearer and puts the other into the heap.
func (s *Search) lookAt(a area) {
	x := s.index
	for at, last := x.find(a.from), x.find(a.last()); ; {
		next, two := at, at != last
		if two {
			next, _ = x.next(at)
		}
		switch {
		case !two || next == last:
			s.scan(x.at(at), a)
			if two {
				s.scan(x.at(next), a)
			}
			return
		case a.bits == curveBits: // one cell with many clients: a block at a time
			s.scan(x.at(at), a)
			a.from = x.ref(next).first()
			s.areas.push(a)
			return
		}
		s.work -= areaWork
		near, far := s.halves(a)
		if far.bound <= s.km {
			s.areas.push(far)
		}
		if near.bound > s.areaBound() {
			s.areas.push(near)
			return
		}
		if a = near; a.from.z < far.from.z {
			last = x.find(a.last())
		} else {
			at = x.find(a.from)
		}
	}
}

// areaBound is the bound of the first area in the heap, or else how far the search reaches.
func (s *Search) areaBound() float64 {
	if len(s.areas.list) > 0 {
		return s.areas.list[0].bound
	}
	return s.reach.km
}

// halves are the halves of an area, the nearer first.
func (s *Search) halves(a area) (near, far area) {
	bits := a.bits + 1
	middle := a.from.z + 1<<(curveBits-bits)
	near, far = area{from: a.from, end: middle, bits: bits}, area{from: key{z: middle}, end: a.end, bits: bits}
	near.bound = max(a.bound, s.origin.AtLeast(boxOf(near.from.z, bits)))
	far.bound = max(a.bound, s.origin.AtLeast(boxOf(far.from.z, bits)))
	if far.bound < near.bound {
		near, far = far, near
	}
	return near, far
}

// scan looks at the clients of a block that are in an area. It reads all cells before it looks
// at any: the processor then waits for many of them at once.
func (s *Search) scan(b *block, a area) {
	ids := b.ids[:b.length]
	s.work -= len(ids)
	var cells [blockIDs]uint64
	for i, id := range ids {
		cells[i] = s.index.cellOf(id)
	}
	for i, id := range ids {
		k := key{cells[i], id}
		if k.z >= a.end || k.less(a.from) || s.members[id] {
			continue
		}
		if p := centreOf(k.z); s.reach.near(s.origin.Point, p) {
			if h := s.origin.Haversine(p); h <= s.reach.haversine {
				s.find(found{id, h})
			}
		}
	}
	if len(s.cells.list) == s.keep {
		// Their clients are at most cellSlack farther away than the farthest of them.
		s.reach.lower(s, geo.DistanceOf(s.cells.list[0])+cellSlack)
	}
	if s.members != nil || len(s.found) > s.keep+unread {
		s.readFound()
	}
}

// find notes a client whose record is to be read.
func (s *Search) find(f found) {
	s.found = append(s.found, f)
	switch c := &s.cells; {
	case s.members != nil: // clients may leave: only records count
		return
	case len(c.list) < s.keep:
		c.push(f.haversine)
	case f.haversine < c.list[0]:
		c.list[0] = f.haversine
		c.fix(0)
	}
}

// readFound reads the records of the clients that were found and are still in reach. They
// are prefetched before one is read: the processor waits for many at once here, too.
func (s *Search) readFound() {
	s.read = s.read[:0]
	for _, f := range s.found {
		if f.haversine <= s.reach.haversine {
			s.read = append(s.read, f.id)
		}
	}
	s.found = s.found[:0]
	s.source.Prefetch(s.read)
	for _, id := range s.read {
		s.consider(id)
	}
}

// reach is how far a search looks.
type reach struct {
	km        float64 // beyond this nothing is of interest
	haversine float64 // nor are cells whose centre has a greater one
	lat, lon  float64 // nor those whose centre differs by more: degrees
}

func (s *Search) reachOf(km float64) reach {
	r := reach{km: km, haversine: geo.HaversineOf(km + cellSlack)}
	r.lat, r.lon = s.origin.Span(km + cellSlack)
	return r
}

// lower lowers a reach to a distance, if that is less.
func (r *reach) lower(s *Search, km float64) {
	if km < r.km {
		*r = s.reachOf(km)
	}
}

// near reports whether a point may be in reach. That is cheap to say, and false for most.
func (r reach) near(origin, p geo.Point) bool {
	return math.Abs(p.Lat-origin.Lat) <= r.lat && geo.LonBetween(p.Lon, origin.Lon) <= r.lon
}
