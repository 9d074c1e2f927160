package placestest

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"strings"
	"testing"
)

// Error responses of the new API.
var (
	GoogleNewBadKey = googleNewError(http.StatusBadRequest, "INVALID_ARGUMENT", "API key not valid. Please pass a valid API key.",
		`"reason": "API_KEY_INVALID"`)
	GoogleNewBadRequest = googleNewError(http.StatusBadRequest, "INVALID_ARGUMENT", "Invalid radius. Valid radius should be between 0 and 50000.", "")
	GoogleNewForbidden  = googleNewError(http.StatusForbidden, "PERMISSION_DENIED", "Places API (New) has not been used in project 1 before or it is disabled.",
		`"reason": "SERVICE_DISABLED"`)
	GoogleNewMinuteQuota = googleNewError(http.StatusTooManyRequests, "RESOURCE_EXHAUSTED", "Quota exceeded for quota metric 'SearchNearbyRequest' and limit 'SearchNearbyRequest per minute' of service 'places.googleapis.com' for consumer 'project_number:1'.",
		`"reason": "RATE_LIMIT_EXCEEDED", "metadata": {"quota_limit": "SearchNearbyRequestPerMinutePerProject"}`)
	GoogleNewDailyQuota = googleNewError(http.StatusTooManyRequests, "RESOURCE_EXHAUSTED", "Quota exceeded for quota metric 'SearchNearbyRequest' and limit 'SearchNearbyRequest per day' of service 'places.googleapis.com' for consumer 'project_number:1'.",
		`"reason": "RATE_LIMIT_EXCEEDED", "metadata": {"quota_limit": "SearchNearbyRequestPerDayPerProject"}`)
	GoogleNewUnavailable = googleNewError(http.StatusServiceUnavailable, "UNAVAILABLE", "The service is currently unavailable.", "")
)

func googleNewError(code int, status, message, detail string) Override {
	details := ""
	if detail != "" {
		details = fmt.Sprintf(",\n    \"details\": [{\"@type\": \"type.googleapis.com/google.rpc.ErrorInfo\", %s}]", detail)
	}
	return Respond(code, fmt.Sprintf("{\n  \"error\": {\n    \"code\": %d,\n    \"message\": %q,\n    \"status\": %q%s\n  }\n}\n", code, message, status, details))
}

// googleNewPlace has all fields of a place. A field mask selects from them.
const googleNewPlace = `{
	"id": "ChIJ%[1]d", "displayName": {"text": "Café %[1]d", "languageCode": "fr"},
	"location": {"latitude": %[2]v, "longitude": %[3]v},
	"viewport": {"low": {"latitude": 1, "longitude": 2}, "high": {"latitude": 3, "longitude": 4}},
	"shortFormattedAddress": "Way %[1]d", "types": ["cafe", "establishment"], "businessStatus": "OPERATIONAL",
	"plusCode": {"globalCode": "85633H93+HX", "compoundCode": "3H93+HX Los Angeles, CA, USA"},
	"iconMaskBaseUri": "https://maps.gstatic.com/mapfiles/place_api/icons/v2/cafe_pinlet", "iconBackgroundColor": "#FF9E67",
	"attributions": [{"provider": "Somebody & Sons", "providerUri": "https://example.org/"}],
	"rating": 4.5, "userRatingCount": 12, "priceLevel": "PRICE_LEVEL_MODERATE", "currentOpeningHours": {"openNow": true}
}`

// GoogleNewPlaces returns a response of the new API with n places and all their fields.
func GoogleNewPlaces(n int) string {
	var found []string
	for i := range n {
		found = append(found, fmt.Sprintf(googleNewPlace, i, 34.07, -118.44))
	}
	return `{"places": [` + strings.Join(found, ",") + `]}`
}

// GoogleNew starts a fake of Nearby Search in the Places API (New). It accepts key and returns up to 20 places for any
// point.
func GoogleNew(t testing.TB, key string) *Server {
	serve := func(w http.ResponseWriter, r Request) {
		var search struct {
			MaxResultCount      int
			LocationRestriction struct {
				Circle struct {
					Center struct{ Latitude, Longitude float64 }
					Radius float64
				}
			}
		}
		err := json.Unmarshal([]byte(r.Body), &search)
		circle := search.LocationRestriction.Circle
		mask := r.Header.Get("X-Goog-FieldMask")
		switch {
		case r.Method != http.MethodPost || r.URL.Path != "/v1/places:searchNearby" || r.Header.Get("Content-Type") != "application/json":
			http.NotFound(w, r.Request)
		case r.Header.Get("X-Goog-Api-Key") != key:
			GoogleNewBadKey(w, r, nil)
		case err != nil || mask == "" || search.MaxResultCount < 1 || search.MaxResultCount > 20 || !(circle.Radius > 0 && circle.Radius <= 50_000):
			GoogleNewBadRequest(w, r, nil)
		default:
			var found []map[string]any
			for i := range search.MaxResultCount {
				var p map[string]any
				if err := json.Unmarshal(fmt.Appendf(nil, googleNewPlace, i, circle.Center.Latitude, circle.Center.Longitude), &p); err != nil {
					panic(err) // the text is constant
				}
				maps.DeleteFunc(p, func(field string, _ any) bool { return !strings.Contains(mask+",", "places."+field+",") })
				found = append(found, p)
			}
			w.Header().Set("Content-Type", "application/json; charset=UTF-8")
			json.NewEncoder(w).Encode(map[string]any{"places": found})
		}
	}
	return start(t, serve, func(r Request) string { return r.Body })
}
