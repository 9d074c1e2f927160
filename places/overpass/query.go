package overpass

import (
	"fmt"
	"math"
	"strings"

	"herd/places"
	"herd/places/internal/web"
)

// Limits for the server, for each query.
const (
	timeoutSeconds = 8
	maxMemory      = 64 << 20 // bytes
	maxFeatures    = 1000
)

// filters select features that a person could visit. They exclude named railway lines and airport taxiways.
var filters = []string{
	`["amenity"]`,
	`["tourism"]`,
	`["leisure"]`,
	`["shop"]`,
	`["railway"~"^(station|halt|tram_stop|subway_entrance)$"]`,
	`["aeroway"~"^(aerodrome|terminal|heliport)$"]`,
	`["historic"]`,
}

// overpassQL returns q in the query language of Overpass. The position of a way or relation is the centre of its bounds.
func overpassQL(q places.Query) string {
	var b strings.Builder
	fmt.Fprintf(&b, "[out:json][timeout:%d][maxsize:%d];\n(\n", timeoutSeconds, maxMemory)
	for _, f := range filters {
		fmt.Fprintf(&b, "  nwr[\"name\"]%s(around:%s,%s,%s);\n", f, web.Decimal(math.Ceil(q.Radius)), web.Decimal(q.Lat), web.Decimal(q.Lon))
	}
	fmt.Fprintf(&b, ");\nout center %d;\n", maxFeatures)
	return b.String()
}
