package gazetteer

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"herd/places"
)

// ids answers q with the ids alone.
func (g *Gazetteer) ids(q places.Query) (list []string) {
	best := g.ix.search(q)
	for _, h := range best.best() {
		list = append(list, g.ix.id(h.at))
	}
	return list
}

func TestRanking(t *testing.T) {
	// North of 0, 0; a hundredth of a degree is 1112 m.
	for _, test := range []struct {
		name  string
		lines []string // in the order wanted
	}{
		{"people", []string{
			"b,,0.01,0,locality,,3001,", "a,,0.01,0,locality,,3000,"}},
		{"kind, as people", []string{
			"c,,0.01,0,locality,,15001,", "b,,0.01,0,museum,,0,", "a,,0.01,0,locality,,14999,"}},
		{"no less than the kind", []string{
			"c,,0.01,0,locality,,1001,", "a,,0.01,0,locality,,1,", "b,,0.01,0,locality,,0,"}},
		{"a city farther off before a hamlet", []string{
			"city,,0.08,0,locality,,100000,", "hamlet,,0.0001,0,locality,,200,"}},
		{"the nearer of equals", []string{
			"b,,0.01,0,museum,,0,", "a,,0.0101,0,museum,,0,"}},
		{"one kilometre halves", []string{ // 1000 m is 0.0089932°
			"b,,0,0,locality,,5010,", "a,,0.009,0,locality,,10000,", "c,,0,0,locality,,4990,"}},
		{"equal prominence and distance, then id", []string{
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
				if got := of(t, test.lines...).ids(q); !slices.Equal(got, want) {
					t.Errorf("search gives %v, want %v", got, want)
				}
				slices.Reverse(test.lines)
			}
		})
	}
}

// Two places of equal prominence at different distances are rare, so the whole order is tried on hits.
func TestBefore(t *testing.T) {
	ix := of(t, "a,name,0,0,museum,,0,", "b,name,0,0,museum,,0,").ix
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
	// The best first, last and in between.
	slices.Reverse(lines[:50])
	g := of(t, append(lines[30:], lines[:30]...)...)
	for bound := range places.MaxBound + 1 {
		if got := g.ids(places.Query{Radius: 1, Bound: bound}); !slices.Equal(got, all[:bound]) {
			t.Errorf("bound %d gives %v, want %v", bound, got, all[:bound])
		}
	}
}

// What a person would expect, on the file as it is.
func TestBuiltinRanking(t *testing.T) {
	g := full(t)
	for _, test := range []struct {
		name  string
		q     places.Query
		first string   // id of the first result
		among []string // names among the others
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
		var names []string
		for _, h := range best.best() {
			names = append(names, g.ix.name(h.at))
		}
		if got := g.ix.id(best.hits[0].at); got != test.first {
			t.Errorf("%s: first is %s, want %s", test.name, got, test.first)
		}
		for _, want := range test.among {
			if !slices.Contains(names, want) {
				t.Errorf("%s: %q is not among %q", test.name, want, names)
			}
		}
	}
}
