package placestest

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"
)

// Layout is one of the JSON layouts of the legacy API.
type Layout int

const (
	// CompactArrays is the layout up to 2022. Arrays of strings are on one line. Opening brackets follow their key.
	CompactArrays Layout = iota
	// ExpandedArrays is the layout since 2022. Each array item and each opening bracket is on a line of its own. The line
	// of the key ends with a space after the colon.
	ExpandedArrays
)

// Error messages of the legacy API. It sends them with HTTP 200.
const (
	GoogleDailyQuota = "You have exceeded your daily request quota for this API. If you did not set a custom daily request quota, verify your project has an active billing account: http://g.co/dev/maps-no-account"
	GoogleRateLimit  = "You have exceeded your rate-limit for this API."
	GoogleBadKey     = "The provided API key is invalid."
)

// Google starts a fake of the legacy Nearby Search. It accepts key and returns 20 places for any point.
func Google(t testing.TB, key string, layout Layout) *Server {
	serve := func(w http.ResponseWriter, r Request) {
		switch lat, lon, ok := strings.Cut(r.Form.Get("location"), ","); {
		case r.Method != http.MethodGet || r.URL.Path != "/maps/api/place/nearbysearch/json":
			http.NotFound(w, r.Request)
		case r.Form.Get("key") != key:
			fmt.Fprint(w, GoogleError("REQUEST_DENIED", GoogleBadKey))
		case !ok || !inRange(lat, -90, 90) || !inRange(lon, -180, 180) || !inRange(r.Form.Get("radius"), 0.001, 50_000):
			fmt.Fprint(w, GoogleError("INVALID_REQUEST", ""))
		default:
			w.Header().Set("Content-Type", "application/json; charset=UTF-8")
			fmt.Fprint(w, GoogleResponse(layout, lat, lon, 20))
		}
	}
	return start(t, serve, func(r Request) string { return r.Form.Get("location") })
}

func inRange(text string, low, high float64) bool {
	f, err := strconv.ParseFloat(text, 64)
	return err == nil && f >= low && f <= high
}

// GoogleError returns an error response of the legacy API.
func GoogleError(status, message string) string {
	field := ""
	if message != "" {
		field = fmt.Sprintf("   \"error_message\" : %q,\n", message)
	}
	return fmt.Sprintf("{\n%s   \"html_attributions\" : [],\n   \"results\" : [],\n   \"status\" : %q\n}\n", field, status)
}

// GoogleResponse returns a response of the legacy API with n places at a point.
func GoogleResponse(layout Layout, lat, lon string, n int) string {
	list, object, types := " [\n", " {\n", " [ \"cafe\", \"establishment\" ]"
	if layout == ExpandedArrays {
		list, object = " \n   [\n", " \n         {\n"
		types = " \n         [\n            \"cafe\",\n            \"establishment\"\n         ]"
	}
	var results []string
	for i := range n {
		results = append(results, fmt.Sprintf(`      {
         "business_status" : "OPERATIONAL",
         "geometry" :%s            "location" : { "lat" : %s, "lng" : %s.0 }
         },
         "name" : "Caf\u00e9 \"%d\" ]}",
         "place_id" : "ChIJ%d",
         "rating" : 4.0,
         "reference" : "ChIJ%d",
         "types" :%s,
         "vicinity" : "Way %d"
      }`, object, lat, strings.SplitN(lon, ".", 2)[0], i, i, i, types, i))
	}
	list += strings.Join(results, ",\n") + "\n   ]"
	status := "OK"
	if n == 0 {
		list, status = " []", "ZERO_RESULTS"
	}
	return "{\n   \"html_attributions\" : [],\n   \"next_page_token\" : \"AeJ\",\n   \"results\" :" + list + ",\n   \"status\" : \"" + status + "\"\n}\n"
}
