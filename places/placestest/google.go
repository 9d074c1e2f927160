package placestest

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"
)

// Dialect is one of the layouts that the legacy API was seen to write.
type Dialect int

const (
	// OneLine is the layout up to 2022: an array of words on one line, brackets behind their keys.
	OneLine Dialect = iota
	// ItemALine is the layout since: one item a line, brackets on a line of their own, a space left behind the colon.
	ItemALine
)

// Errors of the legacy API, which come with HTTP 200.
const (
	DailyQuota = "You have exceeded your daily request quota for this API. If you did not set a custom daily request quota, verify your project has an active billing account: http://g.co/dev/maps-no-account"
	RateLimit  = "You have exceeded your rate-limit for this API."
	BadKey     = "The provided API key is invalid."
)

// Google is the legacy Nearby Search. It accepts Key, knows of 20 places around any point, and writes in dialect.
func Google(t testing.TB, key string, dialect Dialect) *Server {
	serve := func(w http.ResponseWriter, r Request) {
		switch lat, lon, ok := strings.Cut(r.Form.Get("location"), ","); {
		case r.Method != http.MethodGet || r.URL.Path != "/maps/api/place/nearbysearch/json":
			http.NotFound(w, r.Request)
		case r.Form.Get("key") != key:
			fmt.Fprint(w, GoogleError("REQUEST_DENIED", BadKey))
		case !ok || !number(lat, -90, 90) || !number(lon, -180, 180) || !number(r.Form.Get("radius"), 0.001, 50_000):
			fmt.Fprint(w, GoogleError("INVALID_REQUEST", ""))
		default:
			w.Header().Set("Content-Type", "application/json; charset=UTF-8")
			fmt.Fprint(w, GooglePlaces(dialect, lat, lon, 20))
		}
	}
	return start(t, serve, func(r Request) string { return r.Form.Get("location") })
}

func number(text string, least, most float64) bool {
	f, err := strconv.ParseFloat(text, 64)
	return err == nil && f >= least && f <= most
}

// GoogleError is an error as the legacy API writes it.
func GoogleError(status, message string) string {
	said := ""
	if message != "" {
		said = fmt.Sprintf("   \"error_message\" : %q,\n", message)
	}
	return fmt.Sprintf("{\n%s   \"html_attributions\" : [],\n   \"results\" : [],\n   \"status\" : %q\n}\n", said, status)
}

// GooglePlaces is an answer with the first n places around a point.
func GooglePlaces(dialect Dialect, lat, lon string, n int) string {
	open, object, words := " [\n", " {\n", " [ \"cafe\", \"establishment\" ]"
	if dialect == ItemALine {
		open, object = " \n   [\n", " \n         {\n"
		words = " \n         [\n            \"cafe\",\n            \"establishment\"\n         ]"
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
      }`, object, lat, strings.SplitN(lon, ".", 2)[0], i, i, i, words, i))
	}
	list := open + strings.Join(results, ",\n") + "\n   ]"
	status := "OK"
	if n == 0 {
		list, status = " []", "ZERO_RESULTS"
	}
	return "{\n   \"html_attributions\" : [],\n   \"next_page_token\" : \"AeJ\",\n   \"results\" :" + list + ",\n   \"status\" : \"" + status + "\"\n}\n"
}
