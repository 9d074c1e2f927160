package googlenew_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"herd/places"
	"herd/places/google"
	"herd/places/googlenew"
	"herd/places/placestest"
)

func source(s *placestest.Server, ratings bool) *googlenew.Source {
	return googlenew.New(googlenew.Config{Base: s.URL, Key: placestest.Key, Agent: "herd/test", Ratings: ratings})
}

// TestTranslation: every field, in the legacy format's layout.
func TestTranslation(t *testing.T) {
	t.Parallel()
	s := placestest.GoogleNew(t, placestest.Key)
	q := placestest.Campus
	q.Bound = 1
	want := `{
   "html_attributions" : [
      "Places by \u003ca href=\"https://maps.google.com/\"\u003eGoogle Maps\u003c/a\u003e",
      "\u003ca href=\"https://example.org/\"\u003eSomebody \u0026amp; Sons\u003c/a\u003e"
   ],
   "results" : [
      {
         "business_status" : "OPERATIONAL",
         "geometry" : {
            "location" : {
               "lat" : 34.06893,
               "lng" : -118.445127
            },
            "viewport" : {
               "northeast" : {
                  "lat" : 3,
                  "lng" : 4
               },
               "southwest" : {
                  "lat" : 1,
                  "lng" : 2
               }
            }
         },
         "icon" : "https://maps.gstatic.com/mapfiles/place_api/icons/v2/cafe_pinlet.png",
         "icon_background_color" : "#FF9E67",
         "icon_mask_base_uri" : "https://maps.gstatic.com/mapfiles/place_api/icons/v2/cafe_pinlet",
         "name" : "Café 0",
         "opening_hours" : {
            "open_now" : true
         },
         "place_id" : "ChIJ0",
         "plus_code" : {
            "compound_code" : "3H93+HX Los Angeles, CA, USA",
            "global_code" : "85633H93+HX"
         },
         "price_level" : 2,
         "rating" : 4.5,
         "reference" : "ChIJ0",
         "types" : [
            "cafe",
            "establishment"
         ],
         "user_ratings_total" : 12,
         "vicinity" : "Way 0"
      }
   ],
   "status" : "OK"
}`
	if diff := cmp.Diff(want, placestest.Ask(t, source(s, true), q)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	plain := placestest.Ask(t, source(s, false), q)
	for _, dear := range []string{"rating", "user_ratings_total", "price_level", "opening_hours"} {
		if strings.Contains(plain, dear) {
			t.Errorf("%s came without having been switched on", dear)
		}
	}
}

// TestAsks: what goes to the API, and the key in a header and nowhere else.
func TestAsks(t *testing.T) {
	t.Parallel()
	s := placestest.GoogleNew(t, placestest.Key)
	placestest.Ask(t, source(s, false), placestest.Campus)
	r := s.Last(t)
	want := `{"maxResultCount":5,"locationRestriction":{"circle":{"center":{"latitude":34.06893,"longitude":-118.445127},"radius":10000}}}`
	if r.Body != want || r.RequestURI != "/v1/places:searchNearby" || r.Method != http.MethodPost {
		t.Errorf("asked %s %s %s, want %s", r.Method, r.RequestURI, r.Body, want)
	}
	if r.Header.Get("X-Goog-Api-Key") != placestest.Key || r.Header.Get("User-Agent") != "herd/test" {
		t.Errorf("headers %v", r.Header)
	}
	mask := r.Header.Get("X-Goog-FieldMask")
	placestest.Ask(t, source(s, true), placestest.Campus)
	more := s.Last(t).Header.Get("X-Goog-FieldMask")
	if strings.Contains(mask, "rating") || more != mask+",places.rating,places.userRatingCount,places.priceLevel,places.currentOpeningHours" {
		t.Errorf("field masks %q and %q", mask, more)
	}

	none := placestest.Campus
	none.Bound = 0
	if got := placestest.Ask(t, source(s, false), none); !strings.Contains(got, `"ZERO_RESULTS"`) || len(s.Asked()) != 2 {
		t.Errorf("a bound of 0: %s, after %d questions, want none asked", got, len(s.Asked()))
	}
}

// TestAnswers: what the API leaves out, adds or says otherwise.
func TestAnswers(t *testing.T) {
	t.Parallel()
	s := placestest.GoogleNew(t, placestest.Key)
	for _, tt := range []struct {
		name, body, status string
		results            int
		want               string
	}{
		{"an empty object", "{}", "ZERO_RESULTS", 0, ""},
		{"an empty list", `{"places": []}`, "ZERO_RESULTS", 0, ""},
		{"unknown keys", `{"places": [{"id": "x", "novelty": {}}], "more": 1}`, "OK", 1, `"place_id" : "x"`},
		{"more than were wanted", `{"places": [{},{},{},{},{},{},{}]}`, "OK", 5, ""},
		{"no price", `{"places": [{"priceLevel": "PRICE_LEVEL_UNSPECIFIED"}]}`, "OK", 1, ""},
		{"free of charge", `{"places": [{"priceLevel": "PRICE_LEVEL_FREE"}]}`, "OK", 1, `"price_level" : 0`},
		{"closed", `{"places": [{"currentOpeningHours": {"openNow": false}}]}`, "OK", 1, `"open_now" : false`},
		{"hours without now", `{"places": [{"currentOpeningHours": {}}]}`, "OK", 1, ""},
		{"a script", `{"places": [{"attributions": [{"provider": "<b>", "providerUri": "javascript:alert(1)"}]}]}`, "OK", 1, `\u0026lt;b\u0026gt;"`},
	} {
		s.Next(placestest.Says(200, tt.body))
		got := placestest.Ask(t, source(s, true), placestest.Campus)
		var answer places.Response
		if err := json.Unmarshal([]byte(got), &answer); err != nil {
			t.Fatal(err)
		}
		if answer.Status != tt.status || len(answer.Results) != tt.results || !strings.Contains(got, tt.want) || strings.Contains(got, "javascript") {
			t.Errorf("%s: %s, want %s, %d results and %q", tt.name, got, tt.status, tt.results, tt.want)
		}
	}
}

// TestFailures: HTTP's codes and Google's reasons in the legacy API's words.
func TestFailures(t *testing.T) {
	t.Parallel()
	day := time.Until(google.Midnight(time.Now())) - time.Minute
	tests := []struct {
		name          string
		trouble       placestest.Trouble
		status, words string
		retry         bool
		least, most   time.Duration
	}{
		{"bad key", placestest.NewBadKey, "REQUEST_DENIED", "API key not valid", false, 0, 0},
		{"bad key, by its message alone", placestest.Says(400, `{"error": {"message": "API key expired. Please renew the API key."}}`), "REQUEST_DENIED", "expired", false, 0, 0},
		{"bad request", placestest.NewBadRequest, "INVALID_REQUEST", "Invalid radius", false, 0, 0},
		{"forbidden", placestest.NewForbidden, "REQUEST_DENIED", "disabled", false, 0, 0},
		{"quota of a minute", placestest.NewMinuteQuota, "OVER_QUERY_LIMIT", "per minute", false, time.Minute, time.Minute},
		{"quota of a day", placestest.NewDayQuota, "OVER_QUERY_LIMIT", "per day", false, day, 25 * time.Hour},
		{"quota without details", placestest.Says(429, `{"error": {"message": "x per day x"}}`), "OVER_QUERY_LIMIT", "per day", false, day, 25 * time.Hour},
		{"429 of a proxy", placestest.Says(429, "<html>", "Retry-After", "90"), "OVER_QUERY_LIMIT", "HTTP 429", false, 90 * time.Second, 90 * time.Second},
		{"unavailable", placestest.NewUnavailable, "UNKNOWN_ERROR", "currently unavailable", true, 0, 0},
		{"502 of a proxy", placestest.Says(502, "<html>"), "UNKNOWN_ERROR", "HTTP 502", true, 0, 0},
		{"404", placestest.Says(404, ""), "UNKNOWN_ERROR", "HTTP 404", false, 0, 0},
		{"a redirect", placestest.Says(308, "", "Location", "/"), "UNKNOWN_ERROR", "HTTP 308", false, 0, 0},
		{"an error with 200", placestest.Says(200, `{"error": {"code": 403, "message": "x"}}`), "UNKNOWN_ERROR", "no answer of its format", true, 0, 0},
		{"no JSON", placestest.Says(200, "<html>"), "UNKNOWN_ERROR", "no answer of its format", true, 0, 0},
		{"no places", placestest.Says(200, `{"results": []}`), "UNKNOWN_ERROR", "no answer of its format", true, 0, 0},
		{"null", placestest.Says(200, "null"), "UNKNOWN_ERROR", "no answer of its format", true, 0, 0},
		{"a list", placestest.Says(200, "[]"), "UNKNOWN_ERROR", "no answer of its format", true, 0, 0},
		{"places of another kind", placestest.Says(200, `{"places": [1]}`), "UNKNOWN_ERROR", "no answer of its format", true, 0, 0},
		{"cut short", placestest.Says(200, `{"places": [{"id": "x"}`), "UNKNOWN_ERROR", "no answer of its format", true, 0, 0},
		{"broken off", placestest.BreaksOff, "UNKNOWN_ERROR", "broke off", true, 0, 0},
		{"endless", placestest.Endless, "UNKNOWN_ERROR", "more than 4 MB", false, 0, 0},
		{"the key in words", placestest.Says(403, `{"error": {"message": "consumer 'api_key:`+placestest.Key+`' is blocked"}}`), "REQUEST_DENIED", "api_key:[key]", false, 0, 0},
		{"much to say", placestest.Says(400, `{"error": {"message": "`+strings.Repeat("é", 1<<20)+`"}}`), "INVALID_REQUEST", "é…", false, 0, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := placestest.GoogleNew(t, placestest.Key)
			s.Always(tt.trouble)
			e := placestest.Fails(t, source(s, false), placestest.Campus, tt.status, tt.words)
			if e.Retry != tt.retry || e.Wait < tt.least || e.Wait > tt.most || len(e.Message) > 600 {
				t.Errorf("Retry %v, Wait %v, %d bytes, want %v, %v to %v", e.Retry, e.Wait, len(e.Message), tt.retry, tt.least, tt.most)
			}
		})
	}
}
