package node

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"golang.org/x/time/rate"

	"herd/node/geo"
	"herd/node/status"
)

// BenchmarkNearAbsorb is the cost of putting clients that have moved into the index of who is
// near: by a few metres, or anywhere.
func BenchmarkNearAbsorb(b *testing.B) {
	for _, clients := range []int{10_000, 1_000_000} {
		for _, move := range []string{"metres", "anywhere"} {
			b.Run(fmt.Sprintf("%d clients/%s", clients, move), func(b *testing.B) {
				n, r := newNearNode(), rand.New(rand.NewPCG(1, 2))
				places := make([]geo.Point, clients)
				seconds := 0
				report := func(i int) {
					if p := &places[i]; seconds == 0 || move == "anywhere" {
						*p = geo.Point{Lat: math.Asin(2*r.Float64()-1) * 180 / math.Pi, Lon: 360*r.Float64() - 180}
					} else {
						*p = geo.Point{Lat: p.Lat * (1 - 1e-6), Lon: p.Lon * (1 - 1e-6)}
					}
					n.reportAt(b, fmt.Sprintf("client%07d", i), fmt.Sprintf("%+.6f%+.6f", places[i].Lat, places[i].Lon), 1000+seconds)
				}
				for i := range clients {
					report(i)
				}
				ask := func() {
					if _, err := n.Answer(status.NearEndpoint.Name, []byte("+0+0 0.001 1")); err != nil {
						b.Fatal(err)
					}
				}
				ask()
				b.ResetTimer()
				const batch = 10_000
				for range b.N {
					b.StopTimer()
					seconds++
					for i := range batch {
						report((i*7919 + seconds*131) % clients)
					}
					b.StartTimer()
					ask()
				}
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/batch, "ns/client")
			})
		}
	}
}

// BenchmarkNear is the cost of a request for 20 clients within 10 km, among a million clients
// in a hundred cities.
func BenchmarkNear(b *testing.B) {
	n, r := newNearNode(), rand.New(rand.NewPCG(1, 2))
	place := func() string {
		city := float64(r.IntN(100))
		return fmt.Sprintf("%+.6f%+.6f", 60*math.Sin(city)+.1*r.NormFloat64(), 170*math.Cos(3*city)+.1*r.NormFloat64())
	}
	for i := range 1_000_000 {
		n.reportAt(b, fmt.Sprintf("client%07d", i), place(), 1000)
	}
	limiter := n.toolRequests.byEndpoint[status.NearEndpoint.Name]
	limiter.SetLimit(rate.Inf)
	for b.Loop() {
		if _, err := n.Answer(status.NearEndpoint.Name, []byte(place()+" 10 20")); err != nil {
			b.Fatal(err)
		}
	}
}
