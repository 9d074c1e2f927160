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

// Answers of a server with trouble.
var (
	OverpassLimited = Says(http.StatusTooManyRequests, "<p>Please check /api/status for the quota of your IP address.</p>")
	OverpassBusy    = Says(http.StatusGatewayTimeout, "<p>The server is probably too busy to handle your request.</p>")
	OverpassParse   = Says(http.StatusBadRequest, "<p><strong>Error</strong>: line 1: parse error</p>")
	// OverpassRemark is a failure after some was found, with HTTP 200.
	OverpassRemark = Says(http.StatusOK, `{"version": 0.6, "generator": "Overpass API", "elements": [
{"type": "node", "id": 1, "lat": 34.07, "lon": -118.44, "tags": {"amenity": "cafe", "name": "Partial"}}],
"remark": "runtime error: Query timed out in \"query\" at line 3 after 9 seconds."}`)
)

var around = regexp.MustCompile(`\(around:([0-9.]+),(-?[0-9.]+),(-?[0-9.]+)\)`)

// Overpass is an Overpass server that knows of one cafe every spacing metres, to the north of any point, and of no more
// than 100.
func Overpass(t testing.TB, spacing float64) *Server {
	serve := func(w http.ResponseWriter, r Request) {
		circle := around.FindStringSubmatch(r.Form.Get("data"))
		if r.Method != http.MethodPost || r.URL.Path != "/api/interpreter" || circle == nil {
			OverpassParse(w, r, nil)
			return
		}
		radius, _ := strconv.ParseFloat(circle[1], 64)
		lat, _ := strconv.ParseFloat(circle[2], 64)
		var elements []string
		for i := range 100 {
			if away := float64(i+1) * spacing; away <= radius {
				const metresADegree = 6371008.8 * math.Pi / 180
				elements = append(elements, fmt.Sprintf(`{"type": "node", "id": %d, "lat": %v, "lon": %s, "tags": {"amenity": "cafe", "name": "Café %d", "addr:street": "Way", "addr:housenumber": "%d", "addr:city": "Town"}}`,
					i, lat+away/metresADegree, circle[3], i, i))
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
