package places_test

import (
	"encoding/json"
	"math"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"herd/places"
)

var sydney = places.Response{
	HTMLAttributions: []string{`<a href="https://example.org/">Example</a>`},
	Results: []places.Place{
		{
			Geometry: places.Geometry{
				Location: places.LatLng{Lat: -33.8587, Lng: 151.214},
				Viewport: places.Viewport{
					Northeast: places.LatLng{Lat: -33.85, Lng: 151.25},
					Southwest: places.LatLng{Lat: -33.9, Lng: 151},
				},
			},
			Name:     "Café & Bar",
			PlaceID:  "x:1",
			PlusCode: places.PlusCode{CompoundCode: "46R7+GJ Sydney, AU", GlobalCode: "4RRH46R7+GJ"},
			Types:    []string{"cafe", "establishment"},
			Vicinity: "Sydney, AU",
		},
		{
			BusinessStatus: "OPERATIONAL", Icon: "i.png", IconBackgroundColor: "#FF9E67", IconMaskBaseURI: "i",
			Name: "full", OpeningHours: &places.Hours{}, PlaceID: "x:4", PriceLevel: new(int), Rating: 4.5, Reference: "x:4",
			UserRatingsTotal: 1234567,
		},
		{Name: "bare", PlaceID: "x:2", PlusCode: places.PlusCode{GlobalCode: "4RRH46R7+GJ"}},
		{Name: "barer", PlaceID: "x:3"},
	},
	Status: "OK",
}

// A place is encoded the same by Append and by EncodeResult.
func TestEncodeResult(t *testing.T) {
	want := string(sydney.Append(nil))
	for split := range len(sydney.Results) + 1 {
		r := sydney
		r.Results = sydney.Results[:split]
		for _, p := range sydney.Results[split:] {
			r.EncodedResults = append(r.EncodedResults, p.EncodeResult())
		}
		if got := string(r.Append(nil)); got != want {
			t.Errorf("with %d places in Results and the rest in EncodedResults:\n%s\nwant\n%s", split, got, want)
		}
	}
}

func TestAppendLayout(t *testing.T) {
	want := `{
   "html_attributions" : [
      "\u003ca href=\"https://example.org/\"\u003eExample\u003c/a\u003e"
   ],
   "results" : [
      {
         "geometry" : {
            "location" : {
               "lat" : -33.8587,
               "lng" : 151.214
            },
            "viewport" : {
               "northeast" : {
                  "lat" : -33.85,
                  "lng" : 151.25
               },
               "southwest" : {
                  "lat" : -33.9,
                  "lng" : 151
               }
            }
         },
         "name" : "Café \u0026 Bar",
         "place_id" : "x:1",
         "plus_code" : {
            "compound_code" : "46R7+GJ Sydney, AU",
            "global_code" : "4RRH46R7+GJ"
         },
         "types" : [
            "cafe",
            "establishment"
         ],
         "vicinity" : "Sydney, AU"
      },
      {
         "business_status" : "OPERATIONAL",
         "geometry" : {
            "location" : {
               "lat" : 0,
               "lng" : 0
            }
         },
         "icon" : "i.png",
         "icon_background_color" : "#FF9E67",
         "icon_mask_base_uri" : "i",
         "name" : "full",
         "opening_hours" : {
            "open_now" : false
         },
         "place_id" : "x:4",
         "price_level" : 0,
         "rating" : 4.5,
         "reference" : "x:4",
         "user_ratings_total" : 1234567
      },
      {
         "geometry" : {
            "location" : {
               "lat" : 0,
               "lng" : 0
            }
         },
         "name" : "bare",
         "place_id" : "x:2",
         "plus_code" : {
            "global_code" : "4RRH46R7+GJ"
         }
      },
      {
         "geometry" : {
            "location" : {
               "lat" : 0,
               "lng" : 0
            }
         },
         "name" : "barer",
         "place_id" : "x:3"
      }
   ],
   "status" : "OK"
}`
	if diff := cmp.Diff(want, string(sydney.Append(nil))); diff != "" {
		t.Errorf("layout (-want +got):\n%s", diff)
	}
}

func TestAppendEmpty(t *testing.T) {
	r := places.Response{Status: "REQUEST_DENIED", ErrorMessage: "no"}
	want := `> {
   "error_message" : "no",
   "html_attributions" : [],
   "results" : [],
   "status" : "REQUEST_DENIED"
}`
	if diff := cmp.Diff(want, string(r.Append([]byte("> ")))); diff != "" {
		t.Errorf("layout (-want +got):\n%s", diff)
	}
}

// encoding/json decodes the output of Append to the same response.
func TestAppendRoundTrip(t *testing.T) {
	var got places.Response
	if err := json.Unmarshal(sydney.Append(nil), &got); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(sydney, got); diff != "" {
		t.Errorf("decoded (-want +got):\n%s", diff)
	}
}

func TestAppendNumbers(t *testing.T) {
	for _, test := range []struct {
		f    float64
		want string
	}{
		{0, "0"},
		{math.Copysign(0, -1), "0"},
		{-118.445127, "-118.445127"},
		{0.1, "0.1"},
		{1e-7, "0.0000001"},
		{1e21, "1000000000000000000000"},
		{math.NaN(), "null"},
		{math.Inf(-1), "null"},
	} {
		p := places.Place{Geometry: places.Geometry{Location: places.LatLng{Lat: test.f}}}
		got := places.Response{Results: []places.Place{p}}.Append(nil)
		if want := `"lat" : ` + test.want + ","; !strings.Contains(string(got), want) || !json.Valid(got) {
			t.Errorf("Append of latitude %v = %s, want %s in valid JSON", test.f, got, want)
		}
	}
}

func FuzzAppendString(f *testing.F) {
	for _, s := range []string{
		"", "plain", `"quoted\"`, "<b>&amp;</b>", "tab\tnewline\nreturn\rfeed\fback\b", "\x00\x1f\x7f", "Kraków 東京 🙂",
		"\u2028\u2029\u2030", "\ufffd", "broken\xff\xc3(", "cut \xe6\x9d", "\xed\xa0\x80",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		want, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		r := places.Response{Status: s}
		_, got, _ := strings.Cut(string(r.Append(nil)), `"status" : `)
		if got != string(want)+"\n}" {
			t.Errorf("Append of %q = %s, want %s", s, got, want)
		}
	})
}
