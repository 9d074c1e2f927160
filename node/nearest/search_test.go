package nearest

import (
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"herd/node/geo"
	"herd/node/store"
)

// drawFleet draws clients, of which some are nowhere, and an index of them.
func drawFleet(t *rapid.T, most int) (*fleet, *Index) {
	f, x := &fleet{nowhere: map[store.ID]bool{}}, &Index{}
	few := rapid.SliceOfN(points(), 1, 3).Draw(t, "few places")
	place := rapid.OneOf(points(), rapid.SampledFrom(few))
	f.places = rapid.SliceOfN(place, 0, most).Draw(t, "places")
	// In order of neither their IDs nor their places.
	for i := range f.places {
		f.names = append(f.names, fmt.Sprint(i*7919%1009, "\xff", i))
		if rapid.IntRange(0, 9).Draw(t, "nowhere") == 0 {
			f.nowhere[store.ID(i)] = true
		}
		f.sync(x, store.ID(i))
	}
	return f, x
}

type query struct {
	from  geo.Point
	km    float64
	limit int
}

func drawQuery(t *rapid.T, f *fleet) query {
	from := points()
	if len(f.places) > 0 {
		from = rapid.OneOf(from, rapid.SampledFrom(f.places))
	}
	return query{from.Draw(t, "from"),
		rapid.OneOf(rapid.SampledFrom([]float64{0, .001, 10, 10_000, 20_000, 20_015.2, 20_040}), rapid.Float64Range(0, 20_040)).Draw(t, "km"),
		rapid.OneOf(rapid.IntRange(1, 30), rapid.IntRange(1, 1000)).Draw(t, "limit")}
}

// TestSearch: a search finds what comparing all clients finds.
func TestSearch(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f, x := drawFleet(t, 300)
		q := drawQuery(t, f)
		s := New(x, f, q.from, q.km, q.limit)
		for {
			if left, done := s.Continue(rapid.IntRange(1, 500).Draw(t, "budget")); done {
				break
			} else if left > 0 {
				t.Fatal("the search is not done, and has not used its budget")
			}
		}
		got, complete := s.Results()
		if want := f.bruteForce(q.from, q.km, q.limit); !complete || !slices.Equal(got, want) {
			t.Fatalf("%+v: found %v, %v, want %v", q, got, complete, want)
		}
	})
}

// TestSearchWhileClientsMove: a long search finds what comparing all clients at its end finds,
// or says that it does not know.
func TestSearchWhileClientsMove(t *testing.T) {
	t.Parallel()
	searches, completed := 0, 0
	rapid.Check(t, func(t *rapid.T) {
		f, x := drawFleet(t, 600)
		q := drawQuery(t, f)
		s := NewLong(x, f, q.from, q.km, q.limit)
		changes := rapid.IntRange(0, 8).Draw(t, "most changes at a time")
		for {
			if _, done := s.Continue(rapid.IntRange(1, 300).Draw(t, "budget")); done {
				break
			}
			for range rapid.IntRange(0, changes).Draw(t, "changes") {
				if len(f.places) == 0 {
					break
				}
				id := store.ID(rapid.IntRange(0, len(f.places)-1).Draw(t, "client"))
				switch rapid.IntRange(0, 3).Draw(t, "change") {
				case 0:
					f.nowhere[id] = true
				case 1: // appear
					delete(f.nowhere, id)
				default:
					f.places[id] = rapid.OneOf(points(), rapid.SampledFrom(f.places)).Draw(t, "to")
				}
				f.sync(x, id)
				s.Changed(id)
			}
		}
		searches++
		got, complete := s.Results()
		if !complete {
			return
		}
		completed++
		if want := f.bruteForce(q.from, q.km, q.limit); !slices.Equal(got, want) {
			t.Fatalf("%+v: found %v, want %v", q, got, want)
		}
	})
	if completed*10 < searches*9 {
		t.Errorf("%d of %d searches were complete, want most", completed, searches)
	}
}

// TestSearchLosesResults: when so many clients leave that results which were left out would be
// in the answer, the search says so.
func TestSearchLosesResults(t *testing.T) {
	t.Parallel()
	const clients = 1000
	f, x := &fleet{nowhere: map[store.ID]bool{}}, &Index{}
	for i := range clients {
		f.places = append(f.places, geo.Point{Lat: float64(i) / clients})
		f.sync(x, store.ID(i))
	}
	s := NewLong(x, f, geo.Point{}, 20_000, 10)
	for left, done := 0, false; !done; left, done = s.Continue(1000) {
		if left > 0 {
			t.Fatal("the search is not done, and has not used its budget")
		}
	}
	leave := func(from, to int) {
		for id := from; id < to; id++ {
			f.nowhere[store.ID(id)] = true
			f.sync(x, store.ID(id))
			s.Changed(store.ID(id))
		}
	}
	leave(0, spare)
	if got, complete := s.Results(); !complete || !slices.Equal(got, f.bruteForce(geo.Point{}, 20_000, 10)) {
		t.Errorf("after %d clients have left: %v, %v", spare, got, complete)
	}
	leave(spare, 2*spare)
	if got, complete := s.Results(); complete {
		t.Errorf("after %d clients have left: %v, complete", 2*spare, got)
	}
}

// TestSearchReadsLittle: a search among many clients reads few records, and the budget bounds
// the work of each call, also where all clients are at one point.
func TestSearchReadsLittle(t *testing.T) {
	t.Parallel()
	const clients, limit = 20_000, 20
	for _, tt := range []struct {
		name string
		at   func(i int) geo.Point
		from geo.Point
		most int // records that are read
	}{
		{"everywhere", func(i int) geo.Point { return spiral(i, clients) }, geo.Point{Lat: 12, Lon: 34}, 100},
		{"everywhere, from the pole", func(i int) geo.Point { return spiral(i, clients) }, geo.Point{Lat: 90}, 100},
		{"a town", func(i int) geo.Point {
			p := spiral(i, clients)
			return geo.Point{Lat: 48 + p.Lat/500, Lon: 11 + p.Lon/1000}
		}, geo.Point{Lat: 48.01, Lon: 11.02}, 100},
		{"a town, from afar", func(i int) geo.Point {
			p := spiral(i, clients)
			return geo.Point{Lat: 48 + p.Lat/500, Lon: 11 + p.Lon/1000}
		}, geo.Point{Lat: -40, Lon: -170}, 200},
		{"one point", func(int) geo.Point { return geo.Point{} }, geo.Point{}, clients},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			f, x := &fleet{nowhere: map[store.ID]bool{}}, &Index{}
			for i := range clients {
				f.places = append(f.places, tt.at(i))
				f.sync(x, store.ID(i))
			}
			const budget = 5000
			s, calls, read := New(x, f, tt.from, 20_040, limit), 0, 0
			for done := false; !done; calls++ {
				f.read = 0
				_, done = s.Continue(budget)
				if read += f.read; f.read > budget/exactWork+2*blockIDs {
					t.Fatalf("%d records read with a budget of %d", f.read, budget)
				}
			}
			got, _ := s.Results()
			if want := f.bruteForce(tt.from, 20_040, limit); !slices.Equal(got, want) {
				t.Errorf("found %v, want %v", got, want)
			}
			if read > tt.most {
				t.Errorf("%d of %d records read, want at most %d", read, clients, tt.most)
			}
			t.Logf("%d records read in %d calls", read, calls)
		})
	}
}
