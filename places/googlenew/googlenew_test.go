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

// Every field is translated to the legacy format.
func TestTranslate(t *testing.T) {
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
	if diff := cmp.Diff(want, placestest.Nearby(t, source(s, true), q)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	withoutRatings := placestest.Nearby(t, source(s, false), q)
	for _, field := range []string{"rating", "user_ratings_total", "price_level", "opening_hours"} {
		if strings.Contains(withoutRatings, field) {
			t.Errorf("%s is in a response without ratings", field)
		}
	}
}

// The request, with the key only in a header.
func TestRequest(t *testing.T) {
	t.Parallel()
	s := placestest.GoogleNew(t, placestest.Key)
	placestest.Nearby(t, source(s, false), placestest.Campus)
	r := s.LastRequest(t)
	want := `{"maxResultCount":5,"locationRestriction":{"circle":{"center":{"latitude":34.06893,"longitude":-118.445127},"radius":10000}}}`
	if r.Body != want || r.RequestURI != "/v1/places:searchNearby" || r.Method != http.MethodPost {
		t.Errorf("request %s %s %s, want %s", r.Method, r.RequestURI, r.Body, want)
	}
	if r.Header.Get("X-Goog-Api-Key") != placestest.Key || r.Header.Get("User-Agent") != "herd/test" {
		t.Errorf("headers %v", r.Header)
	}
	mask := r.Header.Get("X-Goog-FieldMask")
	placestest.Nearby(t, source(s, true), placestest.Campus)
	maskWithRatings := s.LastRequest(t).Header.Get("X-Goog-FieldMask")
	if strings.Contains(mask, "rating") || maskWithRatings != mask+",places.rating,places.userRatingCount,places.priceLevel,places.currentOpeningHours" {
		t.Errorf("field masks %q and %q", mask, maskWithRatings)
	}

	zeroBound := placestest.Campus
	zeroBound.Bound = 0
	if got := placestest.Nearby(t, source(s, false), zeroBound); !strings.Contains(got, `"ZERO_RESULTS"`) || len(s.Requests()) != 2 {
		t.Errorf("a bound of 0: %s, %d requests in all, want no new one", got, len(s.Requests()))
	}
}

// Responses with missing, unknown or unusual fields.
func TestResponses(t *testing.T) {
	t.Parallel()
	s := placestest.GoogleNew(t, placestest.Key)
	for _, tt := range []struct {
		name, body, status string
		results            int
		want               string
	}{
		{"empty object", "{}", "ZERO_RESULTS", 0, ""},
		{"empty list", `{"places": []}`, "ZERO_RESULTS", 0, ""},
		{"unknown keys", `{"places": [{"id": "x", "novelty": {}}], "more": 1}`, "OK", 1, `"place_id" : "x"`},
		{"more results than the bound", `{"places": [{},{},{},{},{},{},{}]}`, "OK", 5, ""},
		{"unspecified price", `{"places": [{"priceLevel": "PRICE_LEVEL_UNSPECIFIED"}]}`, "OK", 1, ""},
		{"free", `{"places": [{"priceLevel": "PRICE_LEVEL_FREE"}]}`, "OK", 1, `"price_level" : 0`},
		{"closed", `{"places": [{"currentOpeningHours": {"openNow": false}}]}`, "OK", 1, `"open_now" : false`},
		{"hours without openNow", `{"places": [{"currentOpeningHours": {}}]}`, "OK", 1, ""},
		{"script in an attribution", `{"places": [{"attributions": [{"provider": "<b>", "providerUri": "javascript:alert(1)"}]}]}`, "OK", 1, `\u0026lt;b\u0026gt;"`},
	} {
		s.OverrideNext(placestest.Respond(200, tt.body))
		got := placestest.Nearby(t, source(s, true), placestest.Campus)
		var response places.Response
		if err := json.Unmarshal([]byte(got), &response); err != nil {
			t.Fatal(err)
		}
		if response.Status != tt.status || len(response.Results) != tt.results || !strings.Contains(got, tt.want) || strings.Contains(got, "javascript") {
			t.Errorf("%s: %s, want %s, %d results and %q", tt.name, got, tt.status, tt.results, tt.want)
		}
	}
}

// HTTP codes and the API's errors become status words of the legacy API.
func TestErrors(t *testing.T) {
	t.Parallel()
	untilMidnight := time.Until(google.NextMidnight(time.Now())) - time.Minute
	tests := []struct {
		name         string
		override     placestest.Override
		status, text string
		retryable    bool
		low, high    time.Duration // RetryAfter
	}{
		{"bad key", placestest.GoogleNewBadKey, "REQUEST_DENIED", "API key not valid", false, 0, 0},
		{"bad key without details", placestest.Respond(400, `{"error": {"message": "API key expired. Please renew the API key."}}`), "REQUEST_DENIED", "expired", false, 0, 0},
		{"bad request", placestest.GoogleNewBadRequest, "INVALID_REQUEST", "Invalid radius", false, 0, 0},
		{"forbidden", placestest.GoogleNewForbidden, "REQUEST_DENIED", "disabled", false, 0, 0},
		{"quota per minute", placestest.GoogleNewMinuteQuota, "OVER_QUERY_LIMIT", "per minute", false, time.Minute, time.Minute},
		{"daily quota", placestest.GoogleNewDailyQuota, "OVER_QUERY_LIMIT", "per day", false, untilMidnight, 25 * time.Hour},
		{"quota without details", placestest.Respond(429, `{"error": {"message": "x per day x"}}`), "OVER_QUERY_LIMIT", "per day", false, untilMidnight, 25 * time.Hour},
		{"429 from a proxy", placestest.Respond(429, "<html>", "Retry-After", "90"), "OVER_QUERY_LIMIT", "HTTP 429", false, 90 * time.Second, 90 * time.Second},
		{"unavailable", placestest.GoogleNewUnavailable, "UNKNOWN_ERROR", "currently unavailable", true, 0, 0},
		{"502 from a proxy", placestest.Respond(502, "<html>"), "UNKNOWN_ERROR", "HTTP 502", true, 0, 0},
		{"404", placestest.Respond(404, ""), "UNKNOWN_ERROR", "HTTP 404", false, 0, 0},
		{"redirect", placestest.Respond(308, "", "Location", "/"), "UNKNOWN_ERROR", "HTTP 308", false, 0, 0},
		{"error with HTTP 200", placestest.Respond(200, `{"error": {"code": 403, "message": "x"}}`), "UNKNOWN_ERROR", "malformed response", true, 0, 0},
		{"not JSON", placestest.Respond(200, "<html>"), "UNKNOWN_ERROR", "malformed response", true, 0, 0},
		{"no places", placestest.Respond(200, `{"results": []}`), "UNKNOWN_ERROR", "malformed response", true, 0, 0},
		{"null", placestest.Respond(200, "null"), "UNKNOWN_ERROR", "malformed response", true, 0, 0},
		{"array", placestest.Respond(200, "[]"), "UNKNOWN_ERROR", "malformed response", true, 0, 0},
		{"place of another type", placestest.Respond(200, `{"places": [1]}`), "UNKNOWN_ERROR", "malformed response", true, 0, 0},
		{"truncated", placestest.Respond(200, `{"places": [{"id": "x"}`), "UNKNOWN_ERROR", "malformed response", true, 0, 0},
		{"connection closed early", placestest.CloseEarly, "UNKNOWN_ERROR", "could not be read", true, 0, 0},
		{"endless body", placestest.EndlessBody, "UNKNOWN_ERROR", "larger than 4 MB", false, 0, 0},
		{"key in the message", placestest.Respond(403, `{"error": {"message": "consumer 'api_key:`+placestest.Key+`' is blocked"}}`), "REQUEST_DENIED", "api_key:[key]", false, 0, 0},
		{"very long message", placestest.Respond(400, `{"error": {"message": "`+strings.Repeat("é", 1<<20)+`"}}`), "INVALID_REQUEST", "é…", false, 0, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := placestest.GoogleNew(t, placestest.Key)
			s.OverrideAll(tt.override)
			e := placestest.NearbyError(t, source(s, false), placestest.Campus, tt.status, tt.text)
			if e.Retryable != tt.retryable || e.RetryAfter < tt.low || e.RetryAfter > tt.high || len(e.Message) > 600 {
				t.Errorf("Retryable %v, RetryAfter %v, message of %d bytes, want %v, %v to %v, at most 600", e.Retryable, e.RetryAfter, len(e.Message), tt.retryable, tt.low, tt.high)
			}
		})
	}
}
