package geo

import (
	"math"
	"testing"

	"pgregory.net/rapid"
)

func TestDistance(t *testing.T) {
	half := math.Pi * EarthRadius
	for _, tt := range []struct {
		a, b Point
		want float64
	}{
		{Point{0, 0}, Point{0, 0}, 0},
		{Point{0, 0}, Point{0, 1}, half / 180},
		{Point{0, 0}, Point{1, 0}, half / 180},
		{Point{0, 0}, Point{0, 180}, half},
		{Point{0, -90}, Point{0, 90}, half},
		{Point{90, 0}, Point{-90, 77}, half},
		{Point{0, 179.5}, Point{0, -179.5}, half / 180},
		{Point{89.5, 0}, Point{89.5, 180}, half / 180},
		{Point{34.06893, -118.445127}, Point{40.689167, -74.044444}, 3948.876}, // Los Angeles, New York
		{Point{-33.8688, 151.2093}, Point{51.5074, -0.1278}, 16993.957},        // Sydney, London
	} {
		for _, got := range []float64{Distance(tt.a, tt.b), Distance(tt.b, tt.a)} {
			if math.Abs(got-tt.want) > max(1e-6, tt.want*1e-5) {
				t.Errorf("Distance(%v, %v) = %v, want %v", tt.a, tt.b, got, tt.want)
			}
		}
	}
	for _, same := range [][2]Point{{{0, 180}, {0, -180}}, {{90, 12}, {90, -150}}, {{-90, 0}, {-90, 180}}, {{-33.5, -180}, {-33.5, 180}}} {
		if got := Distance(same[0], same[1]); got > 1e-11 {
			t.Errorf("Distance(%v, %v) = %v, want 0, or what rounding makes of it", same[0], same[1], got)
		}
	}
}

// drawPoint draws points everywhere, with many at poles, at the antimeridian and at few
// others.
func drawPoint(t *rapid.T, label string) Point {
	lat := rapid.OneOf(rapid.Float64Range(-90, 90), rapid.SampledFrom([]float64{-90, -89.9999, -45, 0, 1e-7, 60, 89.9999, 90}))
	lon := rapid.OneOf(rapid.Float64Range(-180, 180), rapid.SampledFrom([]float64{-180, -179.9999, -90, 0, 1e-7, 90, 179.9999, 180}))
	return Point{lat.Draw(t, label+" latitude"), lon.Draw(t, label+" longitude")}
}

func drawBox(t *rapid.T) Box {
	a, b := drawPoint(t, "corner"), drawPoint(t, "other corner")
	return Box{min(a.Lat, b.Lat), a.Lon, max(a.Lat, b.Lat), b.Lon}
}

// inside is a point of the box, by two fractions of its height and width.
func (b Box) inside(y, x float64) Point {
	width := b.East - b.West
	if width < 0 {
		width += 360
	}
	lon := b.West + x*width
	if lon > 180 {
		lon -= 360
	}
	return Point{min(b.South+y*(b.North-b.South), b.North), lon}
}

// TestAtLeast: the bound is never above the distance of a point of the box, and not far below
// that of the nearest.
func TestAtLeast(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		o, b := From(drawPoint(t, "origin")), drawBox(t)
		bound := o.AtLeast(b)
		fraction := rapid.OneOf(rapid.Float64Range(0, 1), rapid.SampledFrom([]float64{0, 1}))
		for range 20 {
			p := b.inside(fraction.Draw(t, "y"), fraction.Draw(t, "x"))
			if d := o.Distance(p); bound > d {
				t.Fatalf("AtLeast(%v) from %v = %v, but %v is %v away", b, o.Point, bound, p, d)
			}
		}
		// The nearest point of a grid over the edges and the origin's own latitude and longitude.
		nearest := math.Inf(1)
		const steps = 400
		step := max(b.North-b.South, math.Mod(b.East-b.West+360, 360)) / steps
		for i := range steps + 1 {
			f := float64(i) / steps
			for _, p := range []Point{b.inside(f, 0), b.inside(f, 1), b.inside(0, f), b.inside(1, f)} {
				nearest = min(nearest, o.Distance(p))
			}
		}
		for _, p := range []Point{o.Point, {b.South, o.Lon}, {b.North, o.Lon}} {
			if b.Contains(p) {
				nearest = min(nearest, o.Distance(p))
			}
		}
		const rounding = 1e-6
		if loose := nearest - bound; loose > Slack+step*radians*EarthRadius+rounding {
			t.Fatalf("AtLeast(%v) from %v = %v, but its nearest point is %v away", b, o.Point, bound, nearest)
		}
	})
}

func TestContains(t *testing.T) {
	for _, tt := range []struct {
		box  Box
		p    Point
		want bool
	}{
		{Box{0, 0, 10, 10}, Point{0, 10}, true},
		{Box{0, 0, 10, 10}, Point{10.1, 5}, false},
		{Box{0, 0, 10, 10}, Point{5, -0.1}, false},
		{Box{-20, 170, -10, -170}, Point{-15, 179}, true},
		{Box{-20, 170, -10, -170}, Point{-15, -180}, true},
		{Box{-20, 170, -10, -170}, Point{-15, 0}, false},
		{Box{-20, 170, -10, 180}, Point{-15, -180}, true},
		{Box{-20, -180, -10, -170}, Point{-15, 180}, true},
		{Box{-20, -180, -10, -170}, Point{-15, 179.9}, false},
		{Box{80, 0, 90, 1}, Point{90, -100}, true},
		{Box{80, 0, 89, 1}, Point{90, 0}, false},
		{Box{-90, -180, 90, 180}, Point{12, 34}, true},
		{Box{5, 5, 5, 5}, Point{5, 5}, true},
	} {
		if got := tt.box.Contains(tt.p); got != tt.want {
			t.Errorf("%v.Contains(%v) = %v", tt.box, tt.p, got)
		}
	}
}

// TestHaversine: it orders points as their distances do.
func TestHaversine(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		o, p, km := From(drawPoint(t, "origin")), drawPoint(t, "point"), rapid.Float64Range(0, 20_040).Draw(t, "km")
		d, h := o.Distance(p), o.Haversine(p)
		switch limit := HaversineOf(km); {
		case d < km-Slack && h > limit, d > km+Slack && h < limit:
			t.Fatalf("%v is %v from %v, with haversine %v; that of %v is %v", p, d, o.Point, h, km, limit)
		}
	})
	rapid.Check(t, func(t *rapid.T) {
		o, p := From(drawPoint(t, "origin")), drawPoint(t, "point")
		d := o.Distance(p)
		if lat, lon := o.Span(d); math.Abs(p.Lat-o.Lat) > lat || LonBetween(o.Lon, p.Lon) > lon {
			t.Fatalf("%v is %v from %v, but its span is only %v and %v", p, d, o.Point, lat, lon)
		}
	})
	if got := HaversineOf(20_016); got <= 1 {
		t.Errorf("HaversineOf(half of the equator) = %v, want more than 1", got)
	}
}
