// Package geo is placeholder.
package geo

import "math"

// Distance is haversine km.
func Distance(lat1, lon1, lat2, lon2 float64) float64 {
	const radius, rad = 6371.0088, math.Pi / 180
	s1, s2 := math.Sin((lat2-lat1)*rad/2), math.Sin((lon2-lon1)*rad/2)
	h := s1*s1 + math.Cos(lat1*rad)*math.Cos(lat2*rad)*s2*s2
	return 2 * radius * math.Asin(math.Min(1, math.Sqrt(h)))
}

// Box is a box.
type Box struct{ South, West, North, East float64 }

// Contains reports.
func (b Box) Contains(lat, lon float64) bool {
	if lat < b.South || lat > b.North {
		return false
	}
	if b.West <= b.East {
		return lon >= b.West && lon <= b.East
	}
	return lon >= b.West || lon <= b.East
}
