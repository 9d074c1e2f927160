package overpass

import (
	"cmp"
	"math"
	"slices"
	"strconv"
	"strings"

	"herd/places"
)

// attributions is the credit that the ODbL requires.
var attributions = []string{
	`© <a href="https://www.openstreetmap.org/copyright">OpenStreetMap contributors</a>, ODbL`,
}

// element is a feature in Overpass's format. A node has a position; a way or relation has a centre.
type element struct {
	Type   string            `json:"type"`
	ID     int64             `json:"id"`
	Lat    *float64          `json:"lat"`
	Lon    *float64          `json:"lon"`
	Center *point            `json:"center"`
	Tags   map[string]string `json:"tags"`
}

type point struct {
	Lat float64 `json:"lat"`
	Lon float64 `json:"lon"`
}

// position returns the position or centre of e. ok is false if it is missing or invalid.
func (e *element) position() (p point, ok bool) {
	switch {
	case e.Lat != nil && e.Lon != nil:
		p = point{*e.Lat, *e.Lon}
	case e.Center != nil:
		p = *e.Center
	default:
		return p, false
	}
	return p, math.Abs(p.Lat) <= 90 && math.Abs(p.Lon) <= 180
}

// feature is an element that qualifies as a result.
type feature struct {
	element  *element
	at       point
	distance float64 // metres
	types    []string
}

// features returns the elements that have a position, a name and a known type, nearest first and without duplicates. A
// feature may have its centre outside of q's circle: the server includes ways and relations that reach into it.
func features(q places.Query, elements []element) (found []feature) {
	for i := range elements {
		e := &elements[i]
		at, ok := e.position()
		if !ok || e.Tags["name"] == "" {
			continue
		}
		f := feature{e, at, distance(q, at), types(e.Tags)}
		if len(f.types) > 0 {
			found = append(found, f)
		}
	}
	slices.SortFunc(found, func(a, b feature) int {
		return cmp.Or(cmp.Compare(a.distance, b.distance), cmp.Compare(a.element.Type, b.element.Type), cmp.Compare(a.element.ID, b.element.ID))
	})
	return slices.CompactFunc(found, func(a, b feature) bool {
		return a.element.Type == b.element.Type && a.element.ID == b.element.ID
	})
}

// distance returns the great-circle distance in metres, on a sphere with the earth's mean radius.
func distance(q places.Query, p point) float64 {
	const earthRadius, rad = 6371008.8, math.Pi / 180
	dLat, dLon := (p.Lat-q.Lat)*rad/2, (p.Lon-q.Lon)*rad/2
	h := math.Sin(dLat)*math.Sin(dLat) + math.Cos(q.Lat*rad)*math.Cos(p.Lat*rad)*math.Sin(dLon)*math.Sin(dLon)
	return 2 * earthRadius * math.Asin(math.Sqrt(min(h, 1)))
}

func response(found []feature) places.Response {
	r := places.Response{HTMLAttributions: attributions, Status: places.StatusOK}
	if len(found) == 0 {
		r.Status = places.StatusZeroResults
	}
	for _, f := range found {
		id := "osm:" + f.element.Type + "/" + strconv.FormatInt(f.element.ID, 10)
		r.Results = append(r.Results, places.Place{
			Geometry:  places.Geometry{Location: places.LatLng{Lat: f.at.Lat, Lng: f.at.Lon}},
			Name:      f.element.Tags["name"],
			PlaceID:   id,
			Reference: id,
			Types:     f.types,
			Vicinity:  vicinity(f.element.Tags),
		})
	}
	return r
}

// vicinity builds a short street address from the tags, for example "Broxton Avenue 1000, Los Angeles".
func vicinity(tags map[string]string) string {
	street := cmp.Or(tags["addr:street"], tags["addr:place"])
	if number := tags["addr:housenumber"]; street != "" && number != "" {
		street += " " + number
	}
	city := cmp.Or(tags["addr:city"], tags["addr:suburb"])
	return strings.Trim(street+", "+city, ", ")
}
