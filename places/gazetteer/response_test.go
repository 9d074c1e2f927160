package gazetteer

import (
	"encoding/json"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"herd/places"
)

func TestNearbyBytes(t *testing.T) {
	g := readLines(t,
		"gn:5368361,Los Angeles,34.0522,-118.2437,locality|political,US,3898747,geonames",
		"ipeds:110662,UC \"Los Angeles\",34.0718,-118.4422,university|point_of_interest,US,0,ipeds")
	got, err := g.Nearby(t.Context(), places.Query{Lat: 34.06893, Lon: -118.445127, Radius: 1000, Bound: 20})
	if err != nil {
		t.Fatal(err)
	}
	want := `{
   "html_attributions" : [
      "Contains data from \u003ca href=\"https://www.geonames.org/\"\u003eGeoNames\u003c/a\u003e (CC BY 4.0), OurAirports, Natural Earth, Wikidata, NCES and IMLS"
   ],
   "results" : [
      {
         "geometry" : {
            "location" : {
               "lat" : 34.0718,
               "lng" : -118.4422
            },
            "viewport" : {
               "northeast" : {
                  "lat" : 34.0762966,
                  "lng" : -118.4367715
               },
               "southwest" : {
                  "lat" : 34.0673034,
                  "lng" : -118.4476285
               }
            }
         },
         "name" : "UC \"Los Angeles\"",
         "place_id" : "ipeds:110662",
         "plus_code" : {
            "compound_code" : "3HC5+P4 Los Angeles, US",
            "global_code" : "85633HC5+P4"
         },
         "types" : [
            "university",
            "point_of_interest"
         ],
         "vicinity" : "Los Angeles, US"
      }
   ],
   "status" : "OK"
}`
	if diff := cmp.Diff(want, string(got)); diff != "" {
		t.Errorf("Nearby (-want +got):\n%s", diff)
	}
}

func TestNearbyNoResults(t *testing.T) {
	g := readLines(t, validLine)
	got, err := g.Nearby(t.Context(), places.Query{Lat: -40, Lon: -120, Radius: 50_000, Bound: 20})
	want := places.Response{HTMLAttributions: attributions, Results: []places.Place{}, Status: "ZERO_RESULTS"}
	if err != nil || string(got) != string(want.Append(nil)) {
		t.Errorf("Nearby = %s, %v, want %s", got, err, want.Append(nil))
	}
}

func TestVicinity(t *testing.T) {
	const here = "x,Here,50,8,museum,DE,0,"
	for _, test := range []struct {
		name               string
		lines              []string
		vicinity, compound string // of the first line
	}{
		{"no town", []string{here}, "DE", ""},
		{"no town, no country", []string{"x,Here,50,8,museum,,0,"}, "", ""},
		{"locality", []string{"x,Small,50,8,locality,DE,0,", "y,Big,50,8,locality,DE,9000,"},
			"Small, DE", "2222+22 Small, DE"},
		{"locality without country", []string{"x,Small,50,8,locality,,0,"}, "Small", "2222+22 Small"},
		{"town", []string{here, "y,Town,50.1,8,locality,DE,1,"}, "Town, DE", "2222+22 Town, DE"},
		{"town without country", []string{"x,Here,50,8,museum,,0,", "y,Town,50.1,8,locality,,1,"},
			"Town", "2222+22 Town"},
		{"town beyond 30 km", []string{here, "y,Town,50.27,8,locality,DE,9000000,"}, "DE", ""},
		{"town within 30 km", []string{here, "y,Town,50.2697,8,locality,DE,1,"}, "Town, DE", "2222+22 Town, DE"},
		{"town too far for the short code", // 0.31 degrees of longitude, but 22 km
			[]string{here, "y,Town,50,8.31,locality,DE,9000,"}, "Town, DE", ""},
		{"town without population", []string{here, "y,Town,50,8,locality,DE,0,"}, "DE", ""},
		{"neighborhood is not a town", []string{here, "y,Quarter,50,8,neighborhood,DE,5000,"}, "DE", ""},
		{"twice the distance, five times the population", []string{here, "y,A,50.01,8,locality,DE,1000,", "z,B,50.02,8,locality,DE,5000,"},
			"B, DE", "2222+22 B, DE"},
		{"twice the distance, three times the population", []string{here, "y,A,50.01,8,locality,DE,1000,", "z,B,50.02,8,locality,DE,3000,"},
			"A, DE", "2222+22 A, DE"},
		{"distance below 100 m is ignored", []string{here, "y,A,50,8,locality,DE,1000,", "z,B,50.0008,8,locality,DE,1001,"},
			"B, DE", "2222+22 B, DE"},
		{"town of the same country first", []string{here, "y,Foreign,50,8.01,locality,FR,90000,", "z,Town,50.02,8,locality,DE,5000,"},
			"Town, DE", "2222+22 Town, DE"},
		{"only a town of another country", []string{here, "y,Foreign,50,8.01,locality,FR,90000,"},
			"Foreign, FR", "2222+22 Foreign, FR"},
	} {
		t.Run(test.name, func(t *testing.T) {
			ix := readLines(t, test.lines...).ix
			var p places.Place
			for i := range ix.rows {
				if ix.id(i) == "x" {
					p = ix.place(i)
				}
			}
			if p.Vicinity != test.vicinity || p.PlusCode.CompoundCode != test.compound {
				t.Errorf("vicinity %q, compound code %q, want %q, %q",
					p.Vicinity, p.PlusCode.CompoundCode, test.vicinity, test.compound)
			}
			if want := "9F2C2222+22"; p.PlusCode.GlobalCode != want {
				t.Errorf("global code %q, want %q", p.PlusCode.GlobalCode, want)
			}
		})
	}
}

func TestViewport(t *testing.T) {
	const km = 1000 / (earthRadius * 3.141592653589793 / 180) // degrees: 0.0089932
	type corners [4]float64                                   // north, east, south, west
	for _, test := range []struct {
		lat, lon, halfSide float64
		want               corners
	}{
		{0, 0, 1000, corners{km, km, -km, -km}},
		{60, 10, 1000, corners{60 + km, 10 + 2*km, 60 - km, 10 - 2*km}},
		{0, -180, 1000, corners{km, -180 + km, -km, 180 - km}},
		{0, 179.999, 1000, corners{km, -180.001 + km, -km, 179.999 - km}},
		{89.995, 5, 1000, corners{90, 180, 89.995 - km, -180}},
		{-90, -180, 1000, corners{-90 + km, 180, -90, -180}},
		{89.99, 5, 1000, corners{89.99 + km, 56.5273, 89.99 - km, -46.5273}},
	} {
		v := viewport(test.lat, test.lon, test.halfSide)
		got := corners{v.Northeast.Lat, v.Northeast.Lng, v.Southwest.Lat, v.Southwest.Lng}
		for i := range got {
			if d := got[i] - test.want[i]; d < -1e-4 || d > 1e-4 {
				t.Errorf("viewport(%v, %v, %v) = %v, want %v", test.lat, test.lon, test.halfSide, got, test.want)
				break
			}
		}
	}
}

func TestViewportSize(t *testing.T) {
	for _, test := range []struct {
		line     string
		halfSide float64 // metres
	}{
		{"x,Here,0,0,museum,,0,", 150},
		{"x,Here,0,0,locality,,0,", 1000},
		{"x,Here,0,0,locality,,1,", 500},
		{"x,Here,0,0,locality,,40000,", 2000},
		{"x,Here,0,0,neighborhood,,1000000,", 10_000},
	} {
		v := readLines(t, test.line).ix.place(0).Geometry.Viewport
		if got := v.Northeast.Lat * 111_195; got < test.halfSide-1 || got > test.halfSide+1 {
			t.Errorf("%s: half the side of the viewport is %v m, want %v", test.line, got, test.halfSide)
		}
	}
}

// On the built-in data, responses are valid, complete and within the limits of the query. Concurrent queries get the same
// bytes.
func TestNearbyOnBuiltin(t *testing.T) {
	g := builtinGazetteer(t)
	queries := append(randomQueries(g.ix, 200), places.Query{Lat: -90, Lon: 180, Radius: 50_000, Bound: 20})
	rnd := rand.New(rand.NewPCG(9, 10))
	first := make([]string, len(queries))
	for i := range queries {
		q := &queries[i]
		q.Radius, q.Bound = 50_000*rnd.Float64(), rnd.IntN(20)+1
		body, err := g.Nearby(t.Context(), *q)
		if err != nil {
			t.Fatal(err)
		}
		first[i] = string(body)
		checkResponse(t, *q, body)
	}
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for i, q := range queries {
				if body, err := g.Nearby(t.Context(), q); err != nil || string(body) != first[i] {
					t.Errorf("Nearby(%+v) = %s, %v, want the same as before: %s", q, body, err, first[i])
				}
			}
		})
	}
	wg.Wait()
}

func checkResponse(t *testing.T, q places.Query, body []byte) {
	t.Helper()
	var r places.Response
	if err := json.Unmarshal(body, &r); err != nil {
		t.Fatalf("Nearby(%+v): %v in %s", q, err, body)
	}
	if len(r.Results) > q.Bound || (r.Status == "OK") != (len(r.Results) > 0) {
		t.Errorf("Nearby(%+v): %d results, status %s", q, len(r.Results), r.Status)
	}
	for _, p := range r.Results {
		at, v := p.Geometry.Location, p.Geometry.Viewport
		if d := haversine(q.Lat, q.Lon, at.Lat, at.Lng); d > q.Radius {
			t.Errorf("Nearby(%+v): %s is %v m away", q, p.PlaceID, d)
		}
		if p.Name == "" || p.PlaceID == "" || len(p.Types) == 0 || len(p.PlusCode.GlobalCode) != 11 {
			t.Errorf("Nearby(%+v): incomplete place %+v", q, p)
		}
		if v.Southwest.Lat > at.Lat || v.Northeast.Lat < at.Lat || v.Southwest.Lat == v.Northeast.Lat || v.Southwest.Lng == v.Northeast.Lng {
			t.Errorf("Nearby(%+v): %s at %v is outside of its viewport %v", q, p.PlaceID, at, v)
		}
	}
}

// A cached town is the same as the one found, also if there is none.
func TestTownCache(t *testing.T) {
	t.Parallel()
	ix := builtinGazetteer(t).ix
	noTown := 0
	for i := 0; i < len(ix.rows); i += 97 {
		want, ok := ix.findTown(i)
		for range 2 {
			got, gotOK := ix.town(i)
			if gotOK != ok || ok && got != want {
				t.Fatalf("town(%d) = %d, %v, want %d, %v", i, got, gotOK, want, ok)
			}
		}
		if !ok {
			noTown++
		}
	}
	if noTown == 0 {
		t.Error("every row has a town: the test does not cover rows without one")
	}
}

// Rows that share a cache slot do not get each other's results.
func TestEncodedPlaceCache(t *testing.T) {
	ix := builtinGazetteer(t).ix
	const row = 5
	for range 2 {
		for i := row; i < len(ix.rows); i += len(ix.encoded) {
			p := ix.place(i)
			if got, want := string(ix.encodedPlace(i)), string(p.EncodeResult()); got != want {
				t.Fatalf("encodedPlace(%d) = %s, want %s", i, got, want)
			}
		}
	}
	if first, second := ix.encodedPlace(row), ix.encodedPlace(row); &first[0] != &second[0] {
		t.Error("the second call encodes the place again")
	}
}
