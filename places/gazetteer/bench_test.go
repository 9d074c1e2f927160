package gazetteer

import (
	"math/rand/v2"
	"strconv"
	"testing"

	"herd/places"
)

func BenchmarkLoad(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		if err := New().Load(); err != nil {
			b.Fatal(err)
		}
	}
}

// randomQueries returns queries at the positions of random places.
func randomQueries(ix *index, n int) []places.Query {
	rnd := rand.New(rand.NewPCG(1, 2))
	list := make([]places.Query, n)
	for i := range list {
		lat, lon := ix.rows[rnd.IntN(len(ix.rows))].position()
		list[i] = places.Query{Lat: lat, Lon: lon, Radius: 10_000, Bound: places.MaxBound}
	}
	return list
}

func BenchmarkSearch(b *testing.B) {
	ix := builtinGazetteer(b).ix
	queries := randomQueries(ix, 1024)
	for _, km := range []int{10, 50} {
		b.Run(strconv.Itoa(km)+"km", func(b *testing.B) {
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				q := queries[i%len(queries)]
				q.Radius = float64(km) * 1000
				ix.search(q)
			}
		})
	}
}

func BenchmarkNearby(b *testing.B) {
	g := builtinGazetteer(b)
	queries := randomQueries(g.ix, 1024)
	ctx := b.Context()
	b.ReportAllocs()
	size := 0
	for i := 0; b.Loop(); i++ {
		body, err := g.Nearby(ctx, queries[i%len(queries)])
		if err != nil {
			b.Fatal(err)
		}
		size += len(body)
	}
	b.ReportMetric(float64(size)/float64(b.N), "B/response")
}
