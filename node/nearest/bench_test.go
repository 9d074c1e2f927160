package nearest

import (
	"bytes"
	"fmt"
	"math"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"herd/node/geo"
	"herd/node/store"
	"herd/node/wire"
)

// The benchmarks run on real records: a map of a million clients.

const benchClients = 1_000_000

// spread is how the clients of a benchmark are spread.
type spreadOut struct {
	name string
	at   func(r *rand.Rand) geo.Point
}

var distributions = []spreadOut{
	{"uniform", func(r *rand.Rand) geo.Point {
		return geo.Point{Lat: math.Asin(2*r.Float64()-1) * 180 / math.Pi, Lon: 360*r.Float64() - 180}
	}},
	{"city", func(r *rand.Rand) geo.Point { // most within 20 km
		return geo.Point{Lat: 34.05 + r.NormFloat64()*.1, Lon: -118.24 + r.NormFloat64()*.12}
	}},
	{"point", func(*rand.Rand) geo.Point { return geo.Point{} }},
}

// mapSource is the Source of a map, as the server has it.
type mapSource struct{ *store.Map }

func (m mapSource) Position(id store.ID) (geo.Point, int, bool) {
	client, location := m.ClientAndLocation(id)
	lat, lon, ok := wire.ParsePosition(location)
	return geo.Point{Lat: lat, Lon: lon}, len(client) + len(location), ok
}

func (m mapSource) Prefetch(ids []store.ID) { m.PrefetchRecords(ids) }

func (m mapSource) Client(id store.ID) []byte {
	client, _ := m.ClientAndLocation(id)
	return client
}

// report makes a record.
func report(dst []byte, client int, p geo.Point, time int) []byte {
	return fmt.Appendf(dst, "AT Goloman +0.263873386 client%07d.example %+.6f%+.6f %d\n", client, p.Lat, p.Lon, 1_700_000_000+time)
}

// filled is a map of clients, its index, and the time to build that.
func filled(b testing.TB, d spreadOut) (*store.Map, *Index) {
	m, r := &store.Map{}, rand.New(rand.NewPCG(1, 2))
	for i := range benchClients {
		m.MergeLines(report(nil, i, d.at(r), 0), func(_ []byte, _ store.ID, _ store.Outcome, err error) {
			if err != nil {
				b.Fatal(err)
			}
		})
	}
	x := &Index{}
	began := time.Now()
	source := mapSource{m}
	for id := range store.ID(m.Len()) {
		p, _, _ := source.Position(id)
		x.Set(id, p)
	}
	b.Logf("%s: built in %v, %.2f bytes a client", d.name, time.Since(began), float64(x.Bytes())/benchClients)
	return m, x
}

// query is the place that a benchmark asks about: that of a client.
func benchQuery(m *store.Map, r *rand.Rand) geo.Point {
	p, _, _ := mapSource{m}.Position(store.ID(r.IntN(m.Len())))
	return p
}

// BenchmarkSearch finds 20 clients within 10 km of one.
func BenchmarkSearch(b *testing.B) {
	for _, d := range distributions {
		b.Run(d.name, func(b *testing.B) {
			m, x := filled(b, d)
			r := rand.New(rand.NewPCG(3, 4))
			b.ReportMetric(float64(x.Bytes())/benchClients, "bytes/client")
			for b.Loop() {
				s := New(x, mapSource{m}, benchQuery(m, r), 10, 20)
				if _, done := s.Continue(math.MaxInt); !done {
					b.Fatal("not done")
				}
				s.Results()
			}
		})
	}
}

// BenchmarkSet moves clients: a few metres, as a report later, and anywhere.
func BenchmarkSet(b *testing.B) {
	for _, d := range distributions[:2] {
		m, x := filled(b, d)
		r := rand.New(rand.NewPCG(3, 4))
		b.Run(d.name+"/near", func(b *testing.B) {
			for b.Loop() {
				id := store.ID(r.IntN(m.Len()))
				p, _, _ := mapSource{m}.Position(id)
				x.Set(id, geo.Point{Lat: p.Lat + r.Float64()*.0002, Lon: p.Lon + r.Float64()*.0002})
			}
		})
		b.Run(d.name+"/far", func(b *testing.B) {
			for b.Loop() {
				x.Set(store.ID(r.IntN(m.Len())), d.at(r))
			}
		})
	}
}

// BenchmarkSearchWhileMerging is BenchmarkSearch while another goroutine merges records of these clients, 64 under each lock: at
// a rate that a server has under full load, and as fast as it can, which takes a processor. What it changes is put into the
// index before each search, as the server does it.
func BenchmarkSearchWhileMerging(b *testing.B) {
	for _, d := range distributions[:2] {
		for _, rate := range []float64{300_000, math.Inf(1)} {
			b.Run(fmt.Sprintf("%s/%.0f merges a second", d.name, rate), func(b *testing.B) { searchWhileMerging(b, d, rate) })
		}
	}
}

func searchWhileMerging(b *testing.B, d spreadOut, rate float64) {
	m, x := filled(b, d)
	source := mapSource{m}
	frames := make([][]byte, 1000)
	r := rand.New(rand.NewPCG(3, 4))
	const perFrame = 64
	for i := range frames {
		for range perFrame {
			client := r.IntN(m.Len())
			p, _, _ := source.Position(store.ID(client))
			frames[i] = report(frames[i], client, geo.Point{Lat: min(p.Lat+.0001, 90), Lon: min(p.Lon+.0001, 180)}, 1)
		}
	}
	var mu sync.Mutex
	var changed []store.ID
	merged := 0
	stop := make(chan struct{})
	var merging sync.WaitGroup
	merging.Go(func() {
		began := time.Now()
		for round := 0; ; round++ {
			for _, frame := range frames {
				select {
				case <-stop:
					return
				default:
				}
				frame = bytes.ReplaceAll(frame, []byte(" 1700000001\n"), fmt.Appendf(nil, " %d\n", 1_700_000_001+round))
				mu.Lock()
				m.MergeLines(frame, func(_ []byte, id store.ID, _ store.Outcome, _ error) { changed = append(changed, id) })
				merged += perFrame
				mu.Unlock()
				if ahead := time.Duration(float64(merged)/rate*1e9) - time.Since(began); ahead > time.Millisecond {
					time.Sleep(ahead)
				}
			}
		}
	})
	began := time.Now()
	for b.Loop() {
		for done := false; !done; runtime.Gosched() {
			mu.Lock()
			moved := changed[:min(len(changed), 1000)]
			changed = changed[len(moved):]
			for batch := range slices.Chunk(moved, 64) {
				m.PrefetchRecords(batch)
				for _, id := range batch {
					p, _, _ := source.Position(id)
					x.Set(id, p)
				}
			}
			if len(changed) == 0 {
				s := New(x, source, benchQuery(m, r), 10, 20)
				_, done = s.Continue(math.MaxInt)
				s.Results()
			}
			mu.Unlock()
		}
	}
	took := time.Since(began)
	close(stop)
	merging.Wait()
	b.ReportMetric(float64(merged)/took.Seconds(), "merges/s")
	b.ReportMetric(float64(b.N)/took.Seconds(), "searches/s")
}
