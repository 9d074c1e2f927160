package gazetteer

import (
	"math"

	"herd/places"
)

// attributions is what the licences of the data want shown; see README.md.
var attributions = []string{
	`Contains data from <a href="https://www.geonames.org/">GeoNames</a> (CC BY 4.0), OurAirports, Natural Earth, Wikidata, NCES and IMLS`,
}

// answer searches and encodes. q is within its limits.
func (ix *index) answer(q places.Query) []byte {
	best := ix.search(q)
	var items [places.MaxBound][]byte
	size := 300 // bytes, of what is around the items
	for i, h := range best.best() {
		items[i] = ix.item(h.at)
		size += len(items[i]) + len(",\n      ")
	}
	r := places.Response{HTMLAttributions: attributions, EncodedResults: items[:best.n], Status: places.StatusOK}
	if best.n == 0 {
		r.Status = places.StatusZeroResults
	}
	return r.Append(make([]byte, 0, size))
}

// item is row i as it stands in every answer that has it. Encoding takes most of an answer's time, so those that were
// asked for last are kept.
func (ix *index) item(i int) []byte {
	slot := &ix.items[i%len(ix.items)]
	if kept := slot.Load(); kept != nil && kept.row == i {
		return kept.text
	}
	p := ix.place(i)
	made := &item{row: i, text: p.EncodeResult()}
	slot.Store(made)
	return made.text
}

// item is an encoded row.
type item struct {
	row  int
	text []byte
}

// place describes row i.
func (ix *index) place(i int) places.Place {
	row := &ix.rows[i]
	class := &ix.classes[row.class]
	lat, lon := row.position()

	half := class.half
	if row.people > 0 {
		half = max(10*math.Sqrt(float64(row.people)), 500)
	}
	p := places.Place{
		Geometry: places.Geometry{
			Location: places.LatLng{Lat: lat, Lng: lon},
			Viewport: viewport(lat, lon, half),
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
			p.PlusCode.CompoundCode = p.PlusCode.GlobalCode[shortened:] + " " + p.Vicinity
		}
	}
	return p
}

// town returns the locality that row i is in or belongs to: itself, or the one around with the strongest pull, one of
// another country only for want of any other. Of equal ones it is the first in the index.
func (ix *index) town(i int) (town int, ok bool) {
	const none = -1
	if known := ix.towns[i].Load(); known != 0 {
		return int(known) - 1, known != none
	}
	town, ok = ix.findTown(i)
	found := int32(town) + 1
	if !ok {
		found = none
	}
	ix.towns[i].Store(found)
	return town, ok
}

func (ix *index) findTown(i int) (town int, ok bool) {
	row := &ix.rows[i]
	if ix.classes[row.class].locality {
		return i, true
	}
	const around = 30_000 // metres
	lat, lon := row.position()
	var home, abroad struct {
		town int
		pull int64
	}
	for j, mm := range ix.within(lat, lon, around) {
		other := &ix.rows[j]
		if !ix.classes[other.class].locality {
			continue
		}
		strongest := &home
		if other.country != row.country {
			strongest = &abroad
		}
		if p := pull(other.people, mm); p > strongest.pull {
			strongest.town, strongest.pull = j, p
		}
	}
	if home.pull > 0 {
		return home.town, true
	}
	return abroad.town, abroad.pull > 0
}

// pull is population / distance², in a unit that keeps it positive up to 30 km. Less than 100 m is as good as none,
// and an unknown population pulls nothing.
func pull(people uint32, mm int64) int64 {
	metres := max(mm/1000, 100)
	return int64(people) * 1_000_000_000 / (metres * metres)
}

// viewport returns the square whose sides are half metres from a point, as near as parallels and meridians can make
// it: it ends at the poles, and one that holds a pole holds all meridians.
func viewport(lat, lon, half float64) places.Viewport {
	const metresPerDegree = earthRadius * math.Pi / 180
	high := half / metresPerDegree
	south, north := lat-high, lat+high
	west, east := -180.0, 180.0
	wide := high / math.Cos(lat*math.Pi/180)
	if -90 < south && north < 90 && wide < 180 {
		west, east = lon-wide, lon+wide
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

// round7 keeps seven decimals of a coordinate, about a centimetre, as Google does.
func round7(degrees float64) float64 { return math.Round(degrees*1e7) / 1e7 }
