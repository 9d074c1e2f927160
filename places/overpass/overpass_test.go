package overpass_test

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"herd/places"
	"herd/places/overpass"
	"herd/places/placestest"
)

func source(s *placestest.Server, path string) places.Source {
	return overpass.NewExpandingSearch(overpass.New(overpass.Config{Base: s.URL.JoinPath(path), Agent: "herd/test"}))
}

func decode(t *testing.T, body string) (r places.Response) {
	t.Helper()
	if err := json.Unmarshal([]byte(body), &r); err != nil {
		t.Fatal(err)
	}
	return r
}

// The search sends as many requests as it needs, and returns the nearest places.
func TestExpandingSearch(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		spacing, radius   float64
		bound             int
		requests, results int
	}{
		{10, 10_000, 20, 1, 20}, // a city: enough within 400 m
		{50, 10_000, 20, 2, 20}, // within 2 km
		{1000, 10_000, 5, 3, 5}, // within 10 km
		{1000, 1500, 5, 2, 1},   // fewer than the bound
		{1000, 300, 5, 1, 0},
		{4000, 50_000, 20, 4, 12},
	} {
		s := placestest.Overpass(t, tt.spacing)
		q := placestest.Campus
		q.Radius, q.Bound = tt.radius, tt.bound
		r := decode(t, placestest.Nearby(t, source(s, ""), q))
		if len(s.Requests()) != tt.requests || len(r.Results) != tt.results {
			t.Errorf("%+v: %d requests, %d results", tt, len(s.Requests()), len(r.Results))
		}
		for i, p := range r.Results {
			if want := fmt.Sprint("Café ", i); p.Name != want {
				t.Errorf("%+v: result %d is %s, want %s", tt, i, p.Name, want)
			}
		}
		status := places.StatusOK
		if tt.results == 0 {
			status = places.StatusZeroResults
		}
		if r.Status != status || !strings.Contains(fmt.Sprint(r.HTMLAttributions), "OpenStreetMap") || !strings.Contains(fmt.Sprint(r.HTMLAttributions), "ODbL") {
			t.Errorf("%+v: %s, %q", tt, r.Status, r.HTMLAttributions)
		}
	}
}

// The request, with each accepted form of the base URL.
func TestRequest(t *testing.T) {
	t.Parallel()
	s := placestest.Overpass(t, 10)
	for _, base := range []string{"", "/", "/api", "/api/", "/api/interpreter"} {
		placestest.Nearby(t, source(s, base), placestest.Campus)
	}
	r := s.LastRequest(t)
	data := r.Form.Get("data")
	if !strings.HasPrefix(data, "[out:json][timeout:8]") || r.Header.Get("User-Agent") != "herd/test" {
		t.Errorf("request %q with User-Agent %q", data, r.Header.Get("User-Agent"))
	}
	for _, key := range []string{"amenity", "tourism", "leisure", "shop", "railway", "aeroway", "historic"} {
		if !strings.Contains(data, `nwr["name"]["`+key+`"`) {
			t.Errorf("the query lacks the key %s: %s", key, data)
		}
	}
	if n := strings.Count(data, "(around:400,34.06893,-118.445127);"); n != 7 {
		t.Errorf("%d filters with the circle in %s, want 7", n, data)
	}
}

// Elements that are places become results. Duplicates and elements without a name, position or type do not.
func TestElements(t *testing.T) {
	t.Parallel()
	s := placestest.Overpass(t, 10)
	s.OverrideAll(placestest.Respond(200, `{"version": 0.6, "remark": "runtime remark: nothing to worry about", "elements": [
		{"type": "relation", "id": 9007199254740993, "center": {"lat": 34.0695, "lon": -118.445}, "tags": {"leisure": "park", "tourism": "attraction", "name": "Park"}},
		{"type": "node", "id": 1, "lat": 34.069, "lon": -118.445, "tags": {"amenity": "place_of_worship", "religion": "muslim", "name": "Mosque", "addr:place": "Hill", "addr:city": "Town"}},
		{"type": "node", "id": 1, "lat": 34.069, "lon": -118.445, "tags": {"amenity": "place_of_worship", "religion": "muslim", "name": "Mosque"}},
		{"type": "way", "id": 2, "center": {"lat": 34.0693, "lon": -118.445}, "tags": {"shop": "tea", "name": "Tea", "addr:housenumber": "7"}},
		{"type": "way", "id": 3, "center": {"lat": 34.0691, "lon": -118.445}, "tags": {"railway": "rail", "name": "The line"}},
		{"type": "node", "id": 4, "lat": 34.0691, "lon": -118.445, "tags": {"amenity": "bench"}},
		{"type": "node", "id": 5, "tags": {"amenity": "cafe", "name": "No position"}},
		{"type": "node", "id": 6, "lat": 91, "lon": 0, "tags": {"amenity": "cafe", "name": "Invalid position"}},
		{"type": "node", "id": 7, "lat": 34, "lon": -118, "tags": {"highway": "stop", "name": "No place"}},
		{"type": "node", "id": 8, "lat": 34.0692, "lon": -118.445, "tags": {"railway": "station", "shop": "no", "name": "Station", "addr:street": "Rail \"St\""}}
	]}`))
	r := decode(t, placestest.Nearby(t, source(s, ""), placestest.Campus))
	var got []string
	for _, p := range r.Results {
		got = append(got, strings.Join([]string{p.PlaceID, p.Name, p.Vicinity, strings.Join(p.Types, " ")}, "|"))
	}
	want := []string{
		"osm:node/1|Mosque|Hill, Town|mosque place_of_worship point_of_interest establishment",
		"osm:node/8|Station|Rail \"St\"|train_station transit_station point_of_interest establishment",
		"osm:way/2|Tea||store point_of_interest establishment",
		"osm:relation/9007199254740993|Park||tourist_attraction park point_of_interest establishment",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if at := r.Results[0].Geometry.Location; math.Abs(at.Lat-34.069) > 1e-9 || at.Lng != -118.445 {
		t.Errorf("the first result is at %v", at)
	}
}

func TestErrors(t *testing.T) {
	t.Parallel()
	remark := func(text string) placestest.Override {
		return placestest.Respond(200, fmt.Sprintf(`{"elements": [], "remark": %q}`, text))
	}
	tests := []struct {
		name         string
		override     placestest.Override
		status, text string
		retryable    bool
		retryAfter   time.Duration
	}{
		{"rate limited", placestest.OverpassRateLimited, "OVER_QUERY_LIMIT", "HTTP 429", false, 5 * time.Second},
		{"busy", placestest.OverpassBusy, "UNKNOWN_ERROR", "HTTP 504", false, 5 * time.Second},
		{"busy with Retry-After", placestest.Respond(504, "", "Retry-After", "7"), "UNKNOWN_ERROR", "HTTP 504", false, 7 * time.Second},
		{"parse error", placestest.OverpassParseError, "INVALID_REQUEST", "HTTP 400", false, 0},
		{"remark on a timeout", placestest.OverpassRemark, "UNKNOWN_ERROR", "runtime error: Query timed out", false, 0},
		{"remark on the rate limit", remark("runtime error: open64: 0 Success /osm3s_osm_base Dispatcher_Client::request_read_and_idx::rate_limited. Please check /api/status"), "OVER_QUERY_LIMIT", "rate_limited", false, 5 * time.Second},
		{"remark on load", remark("runtime error: open64: 0 Success /osm3s_osm_base Dispatcher_Client::request_read_and_idx::timeout. The server is probably too busy to handle your request."), "UNKNOWN_ERROR", "too busy", false, 5 * time.Second},
		{"500", placestest.Respond(500, ""), "UNKNOWN_ERROR", "HTTP 500", true, 0},
		{"403", placestest.Respond(403, ""), "REQUEST_DENIED", "HTTP 403", false, 0},
		{"HTML", placestest.Respond(200, "<html>"), "UNKNOWN_ERROR", "malformed response", true, 0},
		{"no elements", placestest.Respond(200, "{}"), "UNKNOWN_ERROR", "malformed response", true, 0},
		{"null", placestest.Respond(200, "null"), "UNKNOWN_ERROR", "malformed response", true, 0},
		{"element of another type", placestest.Respond(200, `{"elements": [{"id": "x"}]}`), "UNKNOWN_ERROR", "malformed response", true, 0},
		{"very long number", placestest.Respond(200, `{"elements": [{"id": `+strings.Repeat("1", 1<<20)+`}]}`), "UNKNOWN_ERROR", "malformed response", true, 0},
		{"connection closed early", placestest.CloseEarly, "UNKNOWN_ERROR", "could not be read", true, 0},
		{"endless body", placestest.EndlessBody, "UNKNOWN_ERROR", "larger than 4 MB", false, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := placestest.Overpass(t, 10)
			s.OverrideAll(tt.override)
			e := placestest.NearbyError(t, source(s, ""), placestest.Campus, tt.status, tt.text)
			if e.Retryable != tt.retryable || e.RetryAfter != tt.retryAfter {
				t.Errorf("Retryable %v, RetryAfter %v, want %v, %v", e.Retryable, e.RetryAfter, tt.retryable, tt.retryAfter)
			}
		})
	}
}
