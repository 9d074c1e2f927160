package nearest

import (
	"bytes"
	"container/heap"
	"math"
	"slices"

	"herd/node/geo"
	"herd/node/store"
)

// Source has the clients' records.
type Source interface {
	// Position is where a client is, and how many bytes had to be read; ok is false if it is
	// nowhere.
	Position(id store.ID) (p geo.Point, size int, ok bool)
	// Client is the client's name. It never changes. It is valid until a record changes.
	Client(id store.ID) []byte
}

// Result is a client that was found.
type Result struct {
	ID store.ID
	KM float64 // its distance
}

// Search looks for the nearest clients. It is done by calls of Continue. If the index changes
// between two of them, Changed must be called, and the Search must be one that NewLong made.
type Search struct {
	index  *Index
	source Source
	origin geo.Origin
	km     float64
	limit  int // results that are wanted
	keep   int // results that are kept: more, so that some may be lost

	areas areas
	best  results
	cut   float64 // the haversine beyond which no cell is of interest
	work  int     // left of the budget

	members map[store.ID]bool // the clients in best; nil in a short search
	// lost is no worse than any client that was found and is not in best; nil if there is none.
	lost *candidate
}

// The units of work. One is about 30 ns, if nothing is in the processor's caches.
const (
	areaWork  = 8 // to take one area from the heap, and to halve it
	exactWork = 8 // to read a position
	bytesWork = 32
)

// scanBlocks is how many blocks an area has at most that is not halved.
const scanBlocks = 2

// New makes a Search for the clients that are at most km from a point: the nearest limit
// ones. It is for an index that does not change meanwhile.
func New(x *Index, source Source, from geo.Point, km float64, limit int) *Search {
	s := &Search{index: x, source: source, origin: geo.From(from), km: km, limit: limit, keep: limit}
	s.best.source = source
	s.cut = geo.HaversineOf(km + cellSlack)
	s.areas = append(s.areas, area{end: 1 << curveBits})
	return s
}

// NewLong makes a Search that goes on while the index changes. It keeps more results than
// New's, which makes it slower.
func NewLong(x *Index, source Source, from geo.Point, km float64, limit int) *Search {
	s := New(x, source, from, km, limit)
	s.keep, s.members = limit+limit/2+spare, map[store.ID]bool{}
	return s
}

// spare is how many results are kept in addition, at least.
const spare = 100

// area is a part of the Earth that has not been looked at: the cells whose first bits are
// those of from.z, from the key from to end.
type area struct {
	bound float64 // no point is nearer
	from  key
	end   uint64
	bits  int
}

// areas is a heap of areas, the nearest first.
type areas []area

func (a areas) Len() int           { return len(a) }
func (a areas) Less(i, j int) bool { return a[i].bound < a[j].bound }
func (a areas) Swap(i, j int)      { a[i], a[j] = a[j], a[i] }
func (a *areas) Push(v any)        { *a = append(*a, v.(area)) }
func (a *areas) Pop() any {
	last := len(*a) - 1
	v := (*a)[last]
	*a = (*a)[:last]
	return v
}

// results is a heap of results, the worst first.
type results struct {
	list   []Result
	source Source
}

// better reports whether a comes before b.
func (r results) better(a, b Result) bool {
	if a.KM != b.KM {
		return a.KM < b.KM
	}
	return a.ID != b.ID && bytes.Compare(r.source.Client(a.ID), r.source.Client(b.ID)) < 0
}

// candidate is what decides the order of results.
type candidate struct {
	km     float64
	client []byte
}

func (r results) candidate(of Result) candidate {
	return candidate{of.KM, bytes.Clone(r.source.Client(of.ID))}
}

func (a candidate) better(b candidate) bool {
	return a.km < b.km || a.km == b.km && bytes.Compare(a.client, b.client) < 0
}

func (r results) Len() int           { return len(r.list) }
func (r results) Less(i, j int) bool { return r.better(r.list[j], r.list[i]) }
func (r results) Swap(i, j int)      { r.list[i], r.list[j] = r.list[j], r.list[i] }
func (r *results) Push(v any)        { r.list = append(r.list, v.(Result)) }
func (r *results) Pop() any {
	last := len(r.list) - 1
	v := r.list[last]
	r.list = r.list[:last]
	return v
}

// Continue searches until it is done, or has done a budget of work: a unit is some 30 ns. A
// single record may exceed the budget, by one unit for each 32 bytes. left is what is left
// of the budget.
func (s *Search) Continue(budget int) (left int, done bool) {
	s.work = budget
	for s.work > 0 {
		if len(s.areas) == 0 || s.areas[0].bound > s.reach() {
			return s.work, true
		}
		a := heap.Pop(&s.areas).(area)
		s.work -= areaWork
		s.lookAt(a)
	}
	return s.work, false
}

// Results returns the results, the nearest first. complete is false if results that are
// better than some of them were lost, because too many clients changed: then the search must
// begin anew.
func (s *Search) Results() (list []Result, complete bool) {
	list = slices.Clone(s.best.list)
	slices.SortFunc(list, func(a, b Result) int {
		if s.best.better(a, b) {
			return -1
		}
		return 1
	})
	if s.lost != nil && (len(list) < s.limit || !s.best.candidate(list[s.limit-1]).better(*s.lost)) {
		return nil, false
	}
	return list[:min(s.limit, len(list))], true
}

// reach is the distance beyond which nothing is of interest.
func (s *Search) reach() float64 {
	if s.full() {
		return s.best.list[0].KM
	}
	return s.km
}

func (s *Search) full() bool { return len(s.best.list) >= s.keep }

// lookAt looks at the clients of an area, or divides it.
func (s *Search) lookAt(a area) {
	x := s.index
	if x.length == 0 {
		return
	}
	last := x.find(key{a.end - 1, math.MaxUint32})
	at, blocks := x.find(a.from), 1
	for p := at; p != last && blocks <= scanBlocks; blocks++ {
		p, _ = x.next(p)
	}
	switch {
	case blocks <= scanBlocks:
		for {
			s.scan(x.at(at), a)
			if at == last {
				return
			}
			at, _ = x.next(at)
		}
	case a.bits == curveBits: // a cell with many clients: one block at a time
		s.scan(x.at(at), a)
		at, _ = x.next(at)
		a.from = x.ref(at).first()
		heap.Push(&s.areas, a)
	default:
		s.halve(a)
	}
}

// halve puts both halves of an area into the heap, unless they are out of reach.
func (s *Search) halve(a area) {
	a.bits++
	middle := a.from.z + 1<<(curveBits-a.bits)
	for _, half := range [...]area{{from: a.from, end: middle, bits: a.bits}, {from: key{z: middle}, end: a.end, bits: a.bits}} {
		half.bound = max(a.bound, s.origin.AtLeast(boxOf(half.from.z, half.bits)))
		if half.bound <= s.km {
			heap.Push(&s.areas, half)
		}
	}
}

// scan looks at the clients of a block that are in an area.
func (s *Search) scan(b *block, a area) {
	s.work -= int(b.length)
	for _, id := range b.ids[:b.length] {
		k := s.index.key(id)
		if k.z < a.end && !k.less(a.from) && !s.members[id] && s.origin.Haversine(centreOf(k.z)) <= s.cut {
			s.consider(id)
		}
	}
}

// consider makes a client a result if it is one.
func (s *Search) consider(id store.ID) {
	p, size, ok := s.source.Position(id)
	s.work -= exactWork + size/bytesWork
	if !ok {
		return
	}
	r := Result{id, s.origin.Distance(p)}
	if r.KM > s.km {
		return
	}
	switch {
	case !s.full():
		heap.Push(&s.best, r)
	case s.best.better(r, s.best.list[0]):
		delete(s.members, s.best.list[0].ID)
		s.best.list[0] = r
		heap.Fix(&s.best, 0)
	default:
		return
	}
	if s.members != nil {
		s.members[id] = true
	}
	s.setCut()
}

func (s *Search) setCut() { s.cut = geo.HaversineOf(s.reach() + cellSlack) }

// Changed must be called after a client's place in the index has been set or removed. Its
// work counts in the next budget.
func (s *Search) Changed(id store.ID) {
	if s.members[id] {
		s.remove(id)
	}
	s.consider(id)
}

// remove removes a client from the results. While they were full, others were left out: none
// better than the worst.
func (s *Search) remove(id store.ID) {
	if s.full() {
		if worst := s.best.candidate(s.best.list[0]); s.lost == nil || worst.better(*s.lost) {
			s.lost = &worst
		}
	}
	delete(s.members, id)
	heap.Remove(&s.best, slices.IndexFunc(s.best.list, func(r Result) bool { return r.ID == id }))
	s.setCut()
}
