package overpass

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	"herd/places"
)

// What a server may spend on one question, and how much it may answer.
const (
	seconds = 8
	memory  = 64 << 20
	most    = 1000 // features
)

// filters say which features are places that one could go to. The lines of railways and the taxiways of aerodromes have
// names too.
var filters = []string{
	`["amenity"]`,
	`["tourism"]`,
	`["leisure"]`,
	`["shop"]`,
	`["railway"~"^(station|halt|tram_stop|subway_entrance)$"]`,
	`["aeroway"~"^(aerodrome|terminal|heliport)$"]`,
	`["historic"]`,
}

// query is q in Overpass QL. Ways and relations answer with a point within their bounds.
func query(q places.Query) string {
	var b strings.Builder
	fmt.Fprintf(&b, "[out:json][timeout:%d][maxsize:%d];\n(\n", seconds, memory)
	for _, f := range filters {
		fmt.Fprintf(&b, "  nwr[\"name\"]%s(around:%s,%s,%s);\n", f, decimal(math.Ceil(q.Radius)), decimal(q.Lat), decimal(q.Lon))
	}
	fmt.Fprintf(&b, ");\nout center %d;\n", most)
	return b.String()
}

func decimal(f float64) string { return strconv.FormatFloat(f, 'f', -1, 64) }
