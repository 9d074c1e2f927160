package gazetteer

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"herd/places"
)

// ids returns the ids of the results.
func (g *Gazetteer) ids(q places.Query) (list []string) {
	best := g.ix.search(q)
	for _, h := range best.best() {
		list = append(list, g.ix.id(h.row))
	}
	return list
}

func TestRanking(t *testing.T) {
	// Positions are north of 0, 0. 0.01 degrees are 1112 m.
	for _, test := range []struct {
		name  string
		lines []string // in the expected order
	}{
		{"population", []string{
			"b,,0.01,0,locality,,3001,", "a,,0.01,0,locality,,3000,"}},
		{"weight of the type counts as population", []string{
			"c,,0.01,0,locality,,15001,", "b,,0.01,0,museum,,0,", "a,,0.01,0,locality,,14999,"}},
		{"weight of the type is the minimum", []string{
			"c,,0.01,0,locality,,1001,", "a,,0.01,0,locality,,1,", "b,,0.01,0,locality,,0,"}},
		{"distant city before near hamlet", []string{
			"city,,0.08,0,locality,,100000,", "hamlet,,0.0001,0,locality,,200,"}},
		{"equal weight: nearer first", []string{
			"b,,0.01,0,museum,,0,", "a,,0.0101,0,museum,,0,"}},
		{"half the prominence at one kilometre", []string{ // 1000 m is 0.0089932°
			"b,,0,0,locality,,5010,", "a,,0.009,0,locality,,10000,", "c,,0,0,locality,,4990,"}},
		{"equal prominence and distance: by id", []string{
			"a,,0.01,0,museum,,0,", "b,,-0.01,0,museum,,0,", "c,,0,0.01,museum,,0,", "d,,0,-0.01,museum,,0,"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			var want []string
			for i, l := range test.lines {
				test.lines[i] = strings.Replace(l, ",,", ",name,", 1)
				id, _, _ := strings.Cut(l, ",")
				want = append(want, id)
			}
			q := places.Query{Radius: 10_000, Bound: 20}
			for range 2 {
				if got := readLines(t, test.lines...).ids(q); !slices.Equal(got, want) {
					t.Errorf("search = %v, want %v", got, want)
				}
				slices.Reverse(test.lines)
			}
		})
	}
}

// Real places rarely have equal prominence at different distances, so this tests the order on hits.
func TestBefore(t *testing.T) {
	ix := readLines(t, "a,name,0,0,museum,,0,", "b,name,0,0,museum,,0,").ix
	order := []hit{{0, 3, 9}, {1, 2, 8}, {0, 3, 8}, {0, 4, 7}, {1, 4, 7}}
	for i, h := range order {
		for j, g := range order {
			if got := ix.before(h, g); got != (i < j) {
				t.Errorf("before(%v, %v) = %v", h, g, got)
			}
		}
	}
}

func TestBound(t *testing.T) {
	var lines, all []string
	for i := range 100 {
		lines = append(lines, fmt.Sprintf("p%02d,name,0,0,locality,,%d,", i, 9000-i))
		all = append(all, fmt.Sprintf("p%02d", i))
	}
	// The best places are at the start, at the end and in between.
	slices.Reverse(lines[:50])
	g := readLines(t, append(lines[30:], lines[:30]...)...)
	for bound := range places.MaxBound + 1 {
		if got := g.ids(places.Query{Radius: 1, Bound: bound}); !slices.Equal(got, all[:bound]) {
			t.Errorf("bound %d: %v, want %v", bound, got, all[:bound])
		}
	}
}

// The built-in data gives the results that a person would expect.
func TestBuiltinRanking(t *testing.T) {
	g := builtinGazetteer(t)
	for _, test := range []struct {
		name  string
		q     places.Query
		first string   // id of the first result
		names []string // of some of the results
	}{
		{"UCLA", places.Query{Lat: 34.06893, Lon: -118.445127, Radius: 1_200, Bound: 20}, "ipeds:110662",
			[]string{"Armand Hammer Museum of Art and Cultural Center"}},
		{"Los Angeles, west", places.Query{Lat: 34.06893, Lon: -118.445127, Radius: 10_000, Bound: 20}, "gn:5393212",
			[]string{"University of California-Los Angeles", "Beverly Hills", "Venice"}},
		{"London", places.Query{Lat: 51.5074, Lon: -0.1278, Radius: 10_000, Bound: 20}, "gn:2643743",
			[]string{"City of Westminster", "Chelsea"}},
		{"Nairobi", places.Query{Lat: -1.2864, Lon: 36.8172, Radius: 10_000, Bound: 20}, "gn:184745",
			[]string{"Nairobi Wilson Airport"}},
	} {
		best := g.ix.search(test.q)
		var got []string
		for _, h := range best.best() {
			got = append(got, g.ix.name(h.row))
		}
		if first := g.ix.id(best.hits[0].row); first != test.first {
			t.Errorf("%s: the first result is %s, want %s", test.name, first, test.first)
		}
		for _, want := range test.names {
			if !slices.Contains(got, want) {
				t.Errorf("%s: %q is not in %q", test.name, want, got)
			}
		}
	}
}
