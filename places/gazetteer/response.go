package gazetteer

import (
	"math"

	"herd/places"
)

// attributions is the credit that the licences of the data require; see README.md.
var attributions = []string{
	`Contains data from <a href="https://www.geonames.org/">GeoNames</a> (CC BY 4.0), OurAirports, Natural Earth, Wikidata, NCES and IMLS`,
}

// nearby returns the response to q, which must be valid.
func (ix *index) nearby(q places.Query) []byte {
	best := ix.search(q)
	var results [places.MaxBound][]byte
	size := 300 // bytes around the results
	for i, h := range best.best() {
		results[i] = ix.encodedPlace(h.row)
		size += len(results[i]) + len(",\n      ")
	}
	r := places.Response{HTMLAttributions: attributions, EncodedResults: results[:best.n], Status: places.StatusOK}
	if best.n == 0 {
		r.Status = places.StatusZeroResults
	}
	return r.Append(make([]byte, 0, size))
}

// encodedPlace returns row i, encoded as a result. Encoding is the most expensive part of a query, so recent results are
// cached.
func (ix *index) encodedPlace(i int) []byte {
	slot := &ix.encoded[i%len(ix.encoded)]
	if cached := slot.Load(); cached != nil && cached.row == i {
		return cached.text
	}
	p := ix.place(i)
	encoded := &encodedRow{row: i, text: p.EncodeResult()}
	slot.Store(encoded)
	return encoded.text
}

// encodedRow is an entry of index.encoded.
type encodedRow struct {
	row  int
	text []byte
}

// place returns row i in the format of a response.
func (ix *index) place(i int) places.Place {
	row := &ix.rows[i]
	class := &ix.classes[row.class]
	lat, lon := row.position()

	halfSide := class.halfSide
	if row.population > 0 {
		halfSide = max(10*math.Sqrt(float64(row.population)), 500)
	}
	p := places.Place{
		Geometry: places.Geometry{
			Location: places.LatLng{Lat: lat, Lng: lon},
			Viewport: viewport(lat, lon, halfSide),
		},
		Name:     ix.name(i),
		PlaceID:  ix.id(i),
		PlusCode: places.PlusCode{GlobalCode: plusCode(lat, lon)},
		Types:    class.types,
		Vicinity: ix.country(i),
	}
	if town, ok := ix.town(i); ok {
		p.Vicinity = ix.name(town)
		if country := ix.country(town); country != "" {
			p.Vicinity = p.Vicinity + ", " + country
		}
		if townLat, townLon := ix.rows[town].position(); recoverable(lat, lon, townLat, townLon) {
			p.PlusCode.CompoundCode = p.PlusCode.GlobalCode[omittedDigits:] + " " + p.Vicinity
		}
	}
	return p
}

// town returns the town for the vicinity of row i; see the package documentation. The result is cached.
func (ix *index) town(i int) (town int, ok bool) {
	const none = -1
	if cached := ix.towns[i].Load(); cached != 0 {
		return int(cached) - 1, cached != none
	}
	town, ok = ix.findTown(i)
	cached := int32(town) + 1
	if !ok {
		cached = none
	}
	ix.towns[i].Store(cached)
	return town, ok
}

// findTown returns row i itself if it is a locality. Otherwise it returns the locality nearby with the greatest pull, if
// possible in the same country. Of equal ones, it returns the first in the index.
func (ix *index) findTown(i int) (town int, ok bool) {
	row := &ix.rows[i]
	if ix.classes[row.class].locality {
		return i, true
	}
	const maxDistance = 30_000 // metres
	lat, lon := row.position()
	var domestic, foreign struct {
		town int
		pull int64
	}
	for j, mm := range ix.within(lat, lon, maxDistance) {
		other := &ix.rows[j]
		if !ix.classes[other.class].locality {
			continue
		}
		strongest := &domestic
		if other.country != row.country {
			strongest = &foreign
		}
		if p := pull(other.population, mm); p > strongest.pull {
			strongest.town, strongest.pull = j, p
		}
	}
	if domestic.pull > 0 {
		return domestic.town, true
	}
	return foreign.town, foreign.pull > 0
}

// pull returns population / distance², scaled to be positive up to 30 km. Distances below 100 m count as 100 m. The pull
// of an unknown population is 0.
func pull(population uint32, mm int64) int64 {
	metres := max(mm/1000, 100)
	return int64(population) * 1_000_000_000 / (metres * metres)
}

// viewport returns a square around a point, bounded by parallels and meridians halfSide metres away. It is cut off at
// the poles. A viewport that contains a pole spans all longitudes.
func viewport(lat, lon, halfSide float64) places.Viewport {
	const metresPerDegree = earthRadius * math.Pi / 180
	halfHeight := halfSide / metresPerDegree
	south, north := lat-halfHeight, lat+halfHeight
	west, east := -180.0, 180.0
	halfWidth := halfHeight / math.Cos(lat*math.Pi/180)
	if -90 < south && north < 90 && halfWidth < 180 {
		west, east = lon-halfWidth, lon+halfWidth
		if west < -180 {
			west += 360
		}
		if east > 180 {
			east -= 360
		}
	}
	return places.Viewport{
		Northeast: places.LatLng{Lat: round7(min(north, 90)), Lng: round7(east)},
		Southwest: places.LatLng{Lat: round7(max(south, -90)), Lng: round7(west)},
	}
}

// round7 rounds a coordinate to seven decimals, about a centimetre, as Google does.
func round7(degrees float64) float64 { return math.Round(degrees*1e7) / 1e7 }
