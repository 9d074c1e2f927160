package gazetteer

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// header is the first line of the text, and columns the number of its fields.
const (
	header  = "id\tname\tlat\tlon\ttypes\tcountry\tpopulation\tsource"
	columns = 8
)

// row is one place: where its line begins in the text, and the fields that a search looks at.
type row struct {
	line     uint32 // offset in the text
	lat, lon int32  // ten-thousandths of a degree; longitude from -180, less than 180
	people   uint32 // 0 where unknown
	country  [2]byte
	class    uint8 // index into index.classes
}

// parser turns the text into rows. It keeps no line: ids, names and countries are read from the text when wanted.
type parser struct {
	rows    []row
	classes []class
	byTypes map[string]uint8 // types column -> index into classes
}

// parse returns an index over text, which it keeps. Errors name the line, counted from 1.
func parse(text string) (*index, error) {
	if uint64(len(text)) > math.MaxUint32 {
		return nil, errTooBig
	}
	first, rest, _ := strings.Cut(text, "\n")
	if first != header {
		return nil, fmt.Errorf("line 1: %.80q: want the header %q", first, header)
	}
	p := parser{rows: make([]row, 0, strings.Count(rest, "\n")+1), byTypes: make(map[string]uint8)}
	for n := 2; rest != ""; n++ {
		at := len(text) - len(rest)
		var line string
		line, rest, _ = strings.Cut(rest, "\n")
		r, err := p.row(line)
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
		r.line = uint32(at)
		p.rows = append(p.rows, r)
	}
	return newIndex(text, p.rows, p.classes), nil
}

// row parses all of a line but its offset.
func (p *parser) row(line string) (r row, err error) {
	var fields [columns]string
	if n := split(line, &fields); n != columns {
		return r, fmt.Errorf("%d fields: want %d", n, columns)
	}
	id, name, lat, lon := fields[0], fields[1], fields[2], fields[3]
	types, country, people := fields[4], fields[5], fields[6]
	if id == "" || name == "" {
		return r, fmt.Errorf("id %q, name %q: want both", id, name)
	}
	var ok bool
	if r.lat, ok = parseDegrees(lat, 90); !ok {
		return r, fmt.Errorf("latitude %q: want degrees within 90, four decimals at most", lat)
	}
	if r.lon, ok = parseDegrees(lon, 180); !ok {
		return r, fmt.Errorf("longitude %q: want degrees within 180, four decimals at most", lon)
	}
	if r.lon == 180*degree {
		r.lon = -r.lon
	}
	if r.class, err = p.class(types); err != nil {
		return r, err
	}
	if country != "" && !(len(country) == 2 && upper(country[0]) && upper(country[1])) {
		return r, fmt.Errorf("country %q: want two capital letters or nothing", country)
	}
	copy(r.country[:], country)
	n, err := strconv.ParseUint(people, 10, 32)
	if err != nil {
		return r, fmt.Errorf("population %q: want a whole number of 32 bits", people)
	}
	r.people = uint32(n)
	return r, nil
}

// split stores the first fields of line and returns how many it has in all.
func split(line string, fields *[columns]string) int {
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

func upper(c byte) bool { return 'A' <= c && c <= 'Z' }

// class returns the number of the class with these types, a new one when they are new.
func (p *parser) class(types string) (uint8, error) {
	if n, ok := p.byTypes[types]; ok {
		return n, nil
	}
	list := strings.Split(types, "|")
	for _, t := range list {
		if t == "" {
			return 0, fmt.Errorf("types %q: want one or more, with | between them", types)
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

// degree is one degree in the units of row.
const degree = 10_000

// parseDegrees reads a decimal within ±limit degrees: an optional minus, digits, and optionally a point and one to
// four digits more.
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
