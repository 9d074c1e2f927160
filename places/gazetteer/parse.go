package gazetteer

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
)

// The first line of the text, and the number of fields in each line.
const (
	header  = "id\tname\tlat\tlon\ttypes\tcountry\tpopulation\tsource"
	columns = 8
)

// row is one place: the start of its line in the text, and the fields that a search uses.
type row struct {
	line       uint32 // offset in the text
	lat, lon   int32  // in 1/10,000 degree; longitude in [-180, 180)
	population uint32 // 0 if unknown
	country    [2]byte
	class      uint8 // index into index.classes
}

// parser converts the text to rows. It does not copy ids, names and countries: they are read from the text when needed.
type parser struct {
	rows    []row
	classes []class
	byTypes map[string]uint8 // types column -> index into classes
}

// parse returns an index over text. The index refers to text. Errors name the line, counted from 1.
func parse(text string) (*index, error) {
	if uint64(len(text)) > math.MaxUint32 { // rows store offsets in 32 bits
		return nil, errors.New("the text is larger than 4 GiB")
	}
	first, rest, _ := strings.Cut(text, "\n")
	if first != header {
		return nil, fmt.Errorf("line 1: got %.80q, want the header %q", first, header)
	}
	p := parser{rows: make([]row, 0, strings.Count(rest, "\n")+1), byTypes: make(map[string]uint8)}
	for n := 2; rest != ""; n++ {
		offset := len(text) - len(rest)
		var line string
		line, rest, _ = strings.Cut(rest, "\n")
		r, err := p.row(line)
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
		r.line = uint32(offset)
		p.rows = append(p.rows, r)
	}
	return newIndex(text, p.rows, p.classes), nil
}

// row parses a line. The caller sets the offset.
func (p *parser) row(line string) (r row, err error) {
	var fields [columns]string
	if n := splitFields(line, &fields); n != columns {
		return r, fmt.Errorf("got %d fields, want %d", n, columns)
	}
	id, name, lat, lon := fields[0], fields[1], fields[2], fields[3]
	types, country, population := fields[4], fields[5], fields[6]
	if id == "" || name == "" {
		return r, fmt.Errorf("id %q, name %q: want both to be non-empty", id, name)
	}
	var ok bool
	if r.lat, ok = parseDegrees(lat, 90); !ok {
		return r, fmt.Errorf("latitude %q: want -90 to 90 degrees with at most four decimals", lat)
	}
	if r.lon, ok = parseDegrees(lon, 180); !ok {
		return r, fmt.Errorf("longitude %q: want -180 to 180 degrees with at most four decimals", lon)
	}
	if r.lon == 180*degree {
		r.lon = -r.lon
	}
	if r.class, err = p.class(types); err != nil {
		return r, err
	}
	if country != "" && !(len(country) == 2 && isUpper(country[0]) && isUpper(country[1])) {
		return r, fmt.Errorf("country %q: want two capital letters or an empty field", country)
	}
	copy(r.country[:], country)
	n, err := strconv.ParseUint(population, 10, 32)
	if err != nil {
		return r, fmt.Errorf("population %q: want an integer from 0 to 4294967295", population)
	}
	r.population = uint32(n)
	return r, nil
}

// splitFields stores the fields of line, up to the length of fields. It returns the total number of fields.
func splitFields(line string, fields *[columns]string) int {
	n := 0
	for more := true; more; n++ {
		var f string
		f, line, more = strings.Cut(line, "\t")
		if n < columns {
			fields[n] = f
		}
	}
	return n
}

func isUpper(c byte) bool { return 'A' <= c && c <= 'Z' }

// class returns the index of the class with these types. If there is none, it adds one.
func (p *parser) class(types string) (uint8, error) {
	if n, ok := p.byTypes[types]; ok {
		return n, nil
	}
	list := strings.Split(types, "|")
	for _, t := range list {
		if t == "" {
			return 0, fmt.Errorf("types %q: want one or more, separated by |", types)
		}
	}
	if len(p.classes) > math.MaxUint8 {
		return 0, fmt.Errorf("types %q: more than 256 combinations", types)
	}
	k, ok := kinds[list[0]]
	if !ok {
		k = kinds["point_of_interest"]
	}
	n := uint8(len(p.classes))
	p.classes = append(p.classes, class{types: list, locality: list[0] == "locality", kind: k})
	p.byTypes[types] = n
	return n, nil
}

// degree is one degree in the units of row.lat and row.lon.
const degree = 10_000

// parseDegrees parses a decimal number within ±limit degrees. It has an optional minus sign, one to three digits, and
// optionally a decimal point with one to four digits.
func parseDegrees(s string, limit int32) (int32, bool) {
	s, negative := strings.CutPrefix(s, "-")
	whole, decimals, point := strings.Cut(s, ".")
	if len(whole) == 0 || len(whole) > 3 || len(decimals) > 4 || point && decimals == "" {
		return 0, false
	}
	var v int32
	for _, digits := range [...]string{whole, decimals} {
		for i := range len(digits) {
			d := digits[i] - '0'
			if d > 9 {
				return 0, false
			}
			v = 10*v + int32(d)
		}
	}
	for range 4 - len(decimals) {
		v *= 10
	}
	if v > limit*degree {
		return 0, false
	}
	if negative {
		v = -v
	}
	return v, true
}
