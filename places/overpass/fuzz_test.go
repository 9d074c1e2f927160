package overpass_test

import (
	"net/url"
	"testing"

	"herd/places"
	"herd/places/overpass"
	"herd/places/placestest"
)

func FuzzResponse(f *testing.F) {
	placestest.FuzzResponses(f, func(base *url.URL) places.Source {
		base.User = url.UserPassword("me", placestest.Key)
		return overpass.New(overpass.Config{Base: base, Agent: "herd/test"})
	}, []placestest.Override{placestest.OverpassRateLimited, placestest.OverpassBusy, placestest.OverpassParseError, placestest.OverpassRemark},
		`{"version": 0.6, "generator": "Overpass API 0.7.62", "elements": [
{"type": "node", "id": 1, "lat": 34.07, "lon": -118.445127, "tags": {"amenity": "cafe", "name": "Café", "addr:street": "Way", "addr:housenumber": "1", "addr:city": "Town"}},
{"type": "way", "id": 2, "center": {"lat": 34.0701, "lon": -118.4451}, "tags": {"tourism": "museum", "name": "Caf \"2\""}},
{"type": "relation", "id": 3, "bounds": {"minlat": 34, "minlon": -119, "maxlat": 34.1, "maxlon": -118}, "tags": {"leisure": "park", "name": "Park"}}]}`,
		`{"elements": [], "remark": "runtime error: Caf"}`)
}
