package gazetteer

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"herd/places"
)

// haversine returns the distance in metres, with another formula than the index.
func haversine(lat1, lon1, lat2, lon2 float64) float64 {
	const rad = math.Pi / 180
	s, w := math.Sin((lat2-lat1)*rad/2), math.Sin((lon2-lon1)*rad/2)
	return 2 * earthRadius * math.Asin(math.Sqrt(s*s+math.Cos(lat1*rad)*math.Cos(lat2*rad)*w*w))
}

// scatteredRows returns rows around random anchor points, and queries at the anchors. Many anchors are edge cases: the
// poles, the antimeridian and the corners of cells.
func scatteredRows(rnd *rand.Rand, anchors, perAnchor int) (rows []row, queries []places.Query) {
	for i := range anchors {
		lat, lon := 180*rnd.Float64()-90, 360*rnd.Float64()-180
		switch i % 6 {
		case 0:
			lat = 90
		case 1:
			lat = -90
		case 2:
			lon = 180
		case 3:
			lat, lon = math.Round(4*lat)/4, math.Round(4*lon)/4
		case 4:
			lat = math.Copysign(89.75-rnd.Float64(), lat)
		}
		queries = append(queries, places.Query{Lat: lat, Lon: lon})
		for range perAnchor {
			// 100 m to 100 km away, with a uniform logarithm.
			angle, metres := 2*math.Pi*rnd.Float64(), math.Pow(10, 2+3*rnd.Float64())
			lat, lon := offset(lat, lon, metres, angle)
			r := row{lat: int32(math.Round(lat * degree)), lon: int32(math.Round(lon * degree))}
			if r.lon == 180*degree {
				r.lon = -r.lon
			}
			rows = append(rows, r)
		}
	}
	return rows, queries
}

// offset returns a point about that many metres from another, in about that direction. Its longitude is in [-180, 180].
func offset(lat, lon, metres, angle float64) (float64, float64) {
	deg := metres / earthRadius * 180 / math.Pi
	lat2 := lat + deg*math.Cos(angle)
	lon2 := lon + deg*math.Sin(angle)/max(math.Cos(lat*math.Pi/180), 1e-3)
	if lat2 > 90 {
		lat2, lon2 = 180-lat2, lon2+180
	} else if lat2 < -90 {
		lat2, lon2 = -180-lat2, lon2+180
	}
	return lat2, math.Remainder(lon2, 360)
}

func TestWithinEqualsFullScan(t *testing.T) {
	rnd := rand.New(rand.NewPCG(7, 8))
	rows, queries := scatteredRows(rnd, 60, 100)
	ix := newIndex("", rows, nil)
	matches := 0
	for n := range 1200 {
		q := queries[n%len(queries)]
		q.Radius = math.Pow(10, -1+rnd.Float64()*math.Log10(50_000/0.1))
		switch rnd.IntN(4) {
		case 0: // the anchor itself
		case 1: // close to a place
			q.Lat, q.Lon = ix.rows[rnd.IntN(len(rows))].position()
			q.Lat, q.Lon = offset(q.Lat, q.Lon, 2*q.Radius*rnd.Float64(), 7*rnd.Float64())
		case 2: // the largest circle, close to the anchor
			q.Radius = places.MaxRadius
			fallthrough
		default:
			q.Lat, q.Lon = offset(q.Lat, q.Lon, 50_000*rnd.Float64(), 7*rnd.Float64())
		}
		matches += compareWithScan(t, ix, q)
	}
	if matches < 20_000 {
		t.Errorf("only %d matches in all, too few for a meaningful test", matches)
	}
}

func TestWithinEqualsFullScanOnBuiltin(t *testing.T) {
	ix := builtinGazetteer(t).ix
	matches := 0
	for _, q := range []places.Query{
		{Lat: 34.06893, Lon: -118.445127, Radius: 10_000},
		{Lat: 51.5074, Lon: -0.1278, Radius: 50_000},
		{Lat: -16.8, Lon: 179.99, Radius: 50_000}, // Taveuni, Fiji: places on both sides
		{Lat: -90, Lon: 0, Radius: 50_000},
		{Lat: -40, Lon: -120, Radius: 50_000},
	} {
		matches += compareWithScan(t, ix, q)
	}
	if matches < 500 {
		t.Errorf("only %d matches in all, too few for a meaningful test", matches)
	}
}

// compareWithScan checks that within yields the same rows as a full scan. It returns their number.
func compareWithScan(t *testing.T, ix *index, q places.Query) int {
	t.Helper()
	var got, want []int
	for i, mm := range ix.within(q.Lat, q.Lon, q.Radius) {
		lat, lon := ix.rows[i].position()
		if d := haversine(q.Lat, q.Lon, lat, lon); math.Abs(d*1000-float64(mm)) > 1 {
			t.Fatalf("within(%v, %v): row at %v, %v is %d mm away, want %v m", q.Lat, q.Lon, lat, lon, mm, d)
		}
		got = append(got, i)
	}
	for i := range ix.rows {
		lat, lon := ix.rows[i].position()
		if haversine(q.Lat, q.Lon, lat, lon) <= q.Radius {
			want = append(want, i)
		}
	}
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Fatalf("within(%v, %v, %v) yields %d rows, want %d: %v, want %v",
			q.Lat, q.Lon, q.Radius, len(got), len(want), got, want)
	}
	return len(want)
}

func TestWithinStops(t *testing.T) {
	rows := make([]row, 10)
	seen := 0
	for range newIndex("", rows, nil).within(0, 0, 1) {
		if seen++; seen == 3 {
			break
		}
	}
	if seen != 3 {
		t.Errorf("%d rows, want 3", seen)
	}
}

func TestSearchDoesNotAllocate(t *testing.T) {
	ix := builtinGazetteer(t).ix
	q := places.Query{Lat: 51.5074, Lon: -0.1278, Radius: places.MaxRadius, Bound: places.MaxBound}
	if n := testing.AllocsPerRun(10, func() { ix.search(q) }); n != 0 {
		t.Errorf("search allocates %v times, want 0", n)
	}
}
