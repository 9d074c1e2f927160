package nearest

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"herd/node/geo"
	"herd/node/store"
)

// fleet is clients at known places, by ID. It is a Source that checks and counts what is read.
type fleet struct {
	places  []geo.Point
	nowhere map[store.ID]bool
	names   []string // by ID; nil for c0, c1, …
	read    int
}

func (f *fleet) Position(id store.ID) (geo.Point, int, bool) {
	f.read++
	return f.places[id], 64, !f.nowhere[id]
}

func (f *fleet) Prefetch([]store.ID) {}

func (f *fleet) Client(id store.ID) []byte {
	if f.names != nil {
		return []byte(f.names[id])
	}
	return fmt.Append(nil, "c", id)
}

// bruteForce is what a search should find.
func (f *fleet) bruteForce(from geo.Point, km float64, limit int) (list []Result) {
	for id, p := range f.places {
		if d := geo.Distance(from, p); d <= km && !f.nowhere[store.ID(id)] {
			list = append(list, Result{store.ID(id), d})
		}
	}
	slices.SortFunc(list, func(a, b Result) int {
		return cmp.Or(cmp.Compare(a.KM, b.KM), strings.Compare(string(f.Client(a.ID)), string(f.Client(b.ID))))
	})
	return list[:min(limit, len(list))]
}

// sync puts a client into the index where the fleet has it.
func (f *fleet) sync(x *Index, id store.ID) {
	if f.nowhere[id] {
		x.Remove(id)
	} else {
		x.Set(id, f.places[id])
	}
}

// check checks the order of the index, and that it has exactly the clients of the fleet.
func (x *Index) check(f *fleet) error {
	seen := map[store.ID]bool{}
	if len(x.pages) == 0 {
		if x.length != 0 || len(f.places) > len(f.nowhere) {
			return fmt.Errorf("the index is empty, but there are %d clients", len(f.places)-len(f.nowhere))
		}
		return nil
	}
	first := key{}
	for at, ok := (place{}), true; ok; {
		next, more := x.next(at)
		end := key{math.MaxUint64, 0}
		if more {
			end = x.ref(next).first()
		}
		if x.ref(at).first() != first || at.slot == 0 && x.firsts[at.page] != first {
			return fmt.Errorf("block %v begins at %v, want %v", at, x.ref(at).first(), first)
		}
		b := x.at(at)
		for _, id := range b.ids[:b.length] {
			if k := x.key(id); k.less(first) || !k.less(end) || seen[id] || f.nowhere[id] || k.z != cellOf(f.places[id]) {
				return fmt.Errorf("client %d with key %v is in the block of %v to %v", id, k, first, end)
			}
			seen[id] = true
		}
		at, ok, first = next, more, end
	}
	if want := len(f.places) - len(f.nowhere); len(seen) != want || x.Len() != want {
		return fmt.Errorf("%d clients in blocks, Len = %d, want %d", len(seen), x.Len(), want)
	}
	return nil
}

// points draws places: everywhere, at few places, in a small town, and where the arithmetic is
// special.
func points() *rapid.Generator[geo.Point] {
	degrees := func(most float64) *rapid.Generator[float64] {
		return rapid.OneOf(rapid.Float64Range(-most, most), rapid.SampledFrom([]float64{-most, most, 0, most - 1e-6, 1e-6, most / 2}),
			rapid.Map(rapid.Float64Range(-.01, .01), func(v float64) float64 { return most/3 + v }))
	}
	return rapid.Custom(func(t *rapid.T) geo.Point {
		return geo.Point{Lat: degrees(90).Draw(t, "latitude"), Lon: degrees(180).Draw(t, "longitude")}
	})
}

// TestIndex: the index keeps its order while clients appear, move and disappear.
func TestIndex(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var x Index
		f := &fleet{nowhere: map[store.ID]bool{}}
		few := rapid.SliceOfN(points(), 1, 4).Draw(t, "few places")
		change := func(clients int) {
			id := store.ID(rapid.IntRange(0, clients).Draw(t, "client"))
			for int(id) >= len(f.places) {
				f.nowhere[store.ID(len(f.places))] = true
				f.places = append(f.places, geo.Point{})
			}
			if delete(f.nowhere, id); rapid.IntRange(0, 3).Draw(t, "remove") == 0 {
				f.nowhere[id] = true
			} else if rapid.Bool().Draw(t, "at one of few places") {
				f.places[id] = rapid.SampledFrom(few).Draw(t, "place")
			} else {
				f.places[id] = points().Draw(t, "point")
			}
			f.sync(&x, id)
		}
		for range rapid.IntRange(0, 500).Draw(t, "changes") {
			change(150)
		}
		if err := x.check(f); err != nil {
			t.Fatal(err)
		}
	})
}

// TestIndexOfMany: pages are divided and merged, whatever the order in which clients come and
// go, and blocks are used again.
func TestIndexOfMany(t *testing.T) {
	t.Parallel()
	const clients = 30_000
	for name, at := range map[string]func(i int) geo.Point{
		"one point":    func(int) geo.Point { return geo.Point{} },
		"a few points": func(i int) geo.Point { return geo.Point{Lat: float64(i % 7), Lon: 3} },
		"spiral":       func(i int) geo.Point { return spiral(i, clients) },
		"ascending":    func(i int) geo.Point { return geo.Point{Lat: float64(i) / clients, Lon: float64(i) / clients} },
		"descending":   func(i int) geo.Point { return geo.Point{Lat: -float64(i) / clients, Lon: -float64(i) / clients} },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var x Index
			f := &fleet{nowhere: map[store.ID]bool{}}
			for i := range clients {
				f.places = append(f.places, at(i))
				f.sync(&x, store.ID(i))
			}
			if err := x.check(f); err != nil {
				t.Fatal(err)
			}
			full := x.Bytes()
			if each := float64(full) / clients; each > 22 { // of which up to 5 are of blocks that are allocated ahead
				t.Errorf("%.1f bytes a client", each)
			}
			for i := range clients { // each moves to the place of another
				f.places[i] = at((i * 7919) % clients)
				f.sync(&x, store.ID(i))
			}
			if err := x.check(f); err != nil {
				t.Fatal(err)
			}
			for i := range clients {
				if id := store.ID(i * 7919 % clients); id%100 != 0 {
					f.nowhere[id] = true
					f.sync(&x, id)
				}
			}
			if err := x.check(f); err != nil {
				t.Fatal(err)
			}
			if len(x.pages) > 1 {
				t.Errorf("%d clients are in %d pages", x.Len(), len(x.pages))
			}
			for i := range clients {
				delete(f.nowhere, store.ID(i))
				f.sync(&x, store.ID(i))
			}
			if err := x.check(f); err != nil {
				t.Fatal(err)
			}
			if grown := float64(x.Bytes()) / float64(full); grown > 1.3 {
				t.Errorf("the index has grown %.2f times: blocks are not used again", grown)
			}
		})
	}
}

// spiral is places that cover the Earth evenly, in a scrambled order.
func spiral(i, n int) geo.Point {
	i = i * 7919 % n
	const golden = 137.50776405003785
	return geo.Point{Lat: math.Asin(1-2*(float64(i)+.5)/float64(n)) * 180 / math.Pi, Lon: math.Mod(float64(i)*golden, 360) - 180}
}

// TestCurve: a cell has its points, and each rectangle its cells.
func TestCurve(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := points().Draw(t, "point")
		z := cellOf(p)
		if z >= nowhere {
			t.Fatalf("cellOf(%v) = %x", p, z)
		}
		if d := geo.Distance(p, centreOf(z)); d > cellSlack {
			t.Fatalf("the centre of the cell of %v is %v km away", p, d)
		}
		for bits := range curveBits + 1 {
			prefix := z >> (curveBits - bits) << (curveBits - bits)
			if b := boxOf(prefix, bits); !b.Contains(centreOf(z)) || geo.From(p).AtLeast(b) > 0 {
				t.Fatalf("the box %v of %d bits does not contain %v", b, bits, p)
			}
		}
		v := rapid.Uint64Range(0, 1<<axisBits-1).Draw(t, "v")
		if gather(spread(v)) != v || spread(v)&0xAAAAAAAAAAAAAAAA != 0 {
			t.Fatalf("spread(%x) = %x", v, spread(v))
		}
	})
}
