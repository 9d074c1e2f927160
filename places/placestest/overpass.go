package placestest

import (
	"fmt"
	"math"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// Error responses of an Overpass server.
var (
	OverpassRateLimited = Respond(http.StatusTooManyRequests, "<p>Please check /api/status for the quota of your IP address.</p>")
	OverpassBusy        = Respond(http.StatusGatewayTimeout, "<p>The server is probably too busy to handle your request.</p>")
	OverpassParseError  = Respond(http.StatusBadRequest, "<p><strong>Error</strong>: line 1: parse error</p>")
	// OverpassRemark reports a failure in a remark beside partial results, with HTTP 200.
	OverpassRemark = Respond(http.StatusOK, `{"version": 0.6, "generator": "Overpass API", "elements": [
{"type": "node", "id": 1, "lat": 34.07, "lon": -118.44, "tags": {"amenity": "cafe", "name": "Partial"}}],
"remark": "runtime error: Query timed out in \"query\" at line 3 after 9 seconds."}`)
)

var around = regexp.MustCompile(`\(around:([0-9.]+),(-?[0-9.]+),(-?[0-9.]+)\)`)

// Overpass starts a fake of an Overpass server. North of any point, it has 100 cafes, spacing metres apart.
func Overpass(t testing.TB, spacing float64) *Server {
	serve := func(w http.ResponseWriter, r Request) {
		circle := around.FindStringSubmatch(r.Form.Get("data"))
		if r.Method != http.MethodPost || r.URL.Path != "/api/interpreter" || circle == nil {
			OverpassParseError(w, r, nil)
			return
		}
		radius, _ := strconv.ParseFloat(circle[1], 64)
		lat, _ := strconv.ParseFloat(circle[2], 64)
		var elements []string
		for i := range 100 {
			if distance := float64(i+1) * spacing; distance <= radius {
				const metresPerDegree = 6371008.8 * math.Pi / 180
				elements = append(elements, fmt.Sprintf(`{"type": "node", "id": %d, "lat": %v, "lon": %s, "tags": {"amenity": "cafe", "name": "Café %d", "addr:street": "Way", "addr:housenumber": "%d", "addr:city": "Town"}}`,
					i, lat+distance/metresPerDegree, circle[3], i, i))
			}
		}
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprintf(w, `{"version": 0.6, "generator": "Overpass API 0.7.62", "osm3s": {"copyright": "ODbL"}, "elements": [%s]}`, strings.Join(elements, ",\n"))
	}
	return start(t, serve, func(r Request) string {
		if m := around.FindStringSubmatch(r.Form.Get("data")); m != nil {
			return m[2] + "," + m[3]
		}
		return ""
	})
}
