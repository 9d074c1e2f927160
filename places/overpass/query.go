package overpass

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// What a server may spend on one question, and how much it may answer.
const (
	seconds  = 8
	memory   = 64 << 20
	elements = 1000
)

// The first circle that is asked for, and how much larger the next one is.
const (
	firstStep = 400 // metres
	widening  = 5
)

// steps are the radii to ask for until there are enough features; the last is radius.
func steps(radius float64) (list []float64) {
	for r := float64(firstStep); r < radius; r *= widening {
		list = append(list, r)
	}
	return append(list, radius)
}

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

// query is the question for what is within radius metres, in Overpass QL. Ways and relations answer with a point within
// their bounds.
func query(lat, lon, radius float64) string {
	var b strings.Builder
	fmt.Fprintf(&b, "[out:json][timeout:%d][maxsize:%d];\n(\n", seconds, memory)
	for _, f := range filters {
		fmt.Fprintf(&b, "  nwr[\"name\"]%s(around:%s,%s,%s);\n", f, decimal(math.Ceil(radius)), decimal(lat), decimal(lon))
	}
	fmt.Fprintf(&b, ");\nout center %d;\n", elements)
	return b.String()
}

func decimal(f float64) string { return strconv.FormatFloat(f, 'f', -1, 64) }
