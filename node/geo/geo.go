// Package geo is distances on the Earth as a sphere, and rectangles of latitude and
// longitude. All angles are degrees, latitudes within 90 and longitudes within 180; all
// distances are kilometres. It is pure, and uses the standard library only.
package geo

import "math"

// EarthRadius is the mean radius of the Earth.
const EarthRadius = 6371.0088

// Slack is how much less than the distance Origin.AtLeast may return: a metre. It covers
// rounding, which is largest for points on opposite sides of the Earth.
const Slack = 0.001

const radians = math.Pi / 180

// Point is a place on the sphere.
type Point struct{ Lat, Lon float64 }

// Distance is the length of the shortest way from a to b: the haversine formula.
func Distance(a, b Point) float64 { return From(a).Distance(b) }

// Origin is a point from which many distances are computed.
type Origin struct {
	Point
	sin, cos float64 // of its latitude
}

// From makes an Origin of a point.
func From(p Point) Origin { return Origin{p, math.Sin(p.Lat * radians), cosine(p.Lat)} }

// Distance is the distance of a point: the haversine formula as it stands. By its rounding, a pole and the 180th
// meridian are up to 10^-11 km away from themselves, at another longitude.
func (o Origin) Distance(p Point) float64 { return DistanceOf(o.Haversine(p)) }

// Haversine grows with the distance of a point, and takes half as long to compute. It is
// from 0 to 1, and may exceed 1 by rounding. HaversineOf converts distances to it.
func (o Origin) Haversine(p Point) float64 {
	return o.haversine(p.Lat, cosine(p.Lat), o.Lon-p.Lon)
}

// HaversineOf is the haversine of a distance; 2, which no point has, for one that is as
// long as half of the equator or longer.
func HaversineOf(km float64) float64 {
	if km >= math.Pi*EarthRadius {
		return 2
	}
	s := math.Sin(km / (2 * EarthRadius))
	return s * s
}

// DistanceOf is the distance of a haversine: the inverse of HaversineOf.
func DistanceOf(haversine float64) float64 {
	return 2 * EarthRadius * math.Asin(math.Sqrt(min(haversine, 1)))
}

// Span is how much the latitude and the longitude of points may differ from the origin's that
// are at most so far away: degrees, rounded up.
func (o Origin) Span(km float64) (lat, lon float64) {
	angle := (km + Slack) / EarthRadius
	if lat = angle / radians; math.Abs(o.Lat)+lat >= 90 { // a pole is that near
		return lat, 180
	}
	return lat, math.Asin(min(math.Sin(angle)/o.cos, 1))/radians + 1e-9
}

// haversine is that of a point of a latitude, with its cosine, and a longitude that
// differs from the origin's by lon.
func (o Origin) haversine(lat, cos, lon float64) float64 {
	u, v := math.Sin((lat-o.Lat)*(radians/2)), math.Sin(lon*(radians/2))
	return u*u + o.cos*cos*v*v
}

func cosine(lat float64) float64 { return math.Cos(lat * radians) }

// LonBetween is the difference of two longitudes, 0 to 180.
func LonBetween(a, b float64) float64 {
	d := math.Abs(a - b)
	if d > 180 {
		return 360 - d
	}
	return d
}

// Box is a rectangle of latitudes and longitudes, with its edges. South is at most North.
// If West is greater than East it crosses the antimeridian: {-20, 170, -10, -170} is 20
// degrees wide.
type Box struct{ South, West, North, East float64 }

// Contains reports whether the box has a point. At a pole all longitudes are one point, and
// longitude 180 is -180.
func (b Box) Contains(p Point) bool {
	switch {
	case p.Lat < b.South || p.Lat > b.North:
		return false
	case p.Lat == 90 || p.Lat == -90 || b.hasLon(p.Lon):
		return true
	}
	return (p.Lon == 180 || p.Lon == -180) && b.hasLon(-p.Lon)
}

func (b Box) hasLon(lon float64) bool {
	if b.West <= b.East {
		return b.West <= lon && lon <= b.East
	}
	return lon >= b.West || lon <= b.East
}

// AtLeast is a lower bound of the distance of every point of a box: the distance of the
// nearest one, less Slack, or 0.
func (o Origin) AtLeast(b Box) float64 {
	if b.hasLon(o.Lon) { // the nearest point has the same longitude
		away := max(b.South-o.Lat, o.Lat-b.North, 0)
		return max(away*radians*EarthRadius-Slack, 0)
	}
	// At each latitude the point of the nearer edge is the nearest. On the edge's whole
	// meridian, the nearest one is at the latitude best, or behind a pole.
	lon := min(LonBetween(o.Lon, b.West), LonBetween(o.Lon, b.East))
	best := math.Atan2(o.sin, o.cos*math.Cos(lon*radians)) / radians
	lat := min(max(best, b.South), b.North)
	h := o.haversine(lat, cosine(lat), lon)
	if lon >= 90 { // then one of the two ends is
		h = min(o.haversine(b.South, cosine(b.South), lon), o.haversine(b.North, cosine(b.North), lon))
	}
	return max(DistanceOf(h)-Slack, 0)
}
