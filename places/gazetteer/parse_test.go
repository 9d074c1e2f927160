package gazetteer

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/iotest"
)

func TestParseRow(t *testing.T) {
	var p parser
	p.byTypes = make(map[string]uint8)
	for _, test := range []struct {
		line string
		want row
	}{
		{validLine, row{lat: 340689, lon: -1184451, population: 500, country: [2]byte{'U', 'S'}}},
		{"x,y,-90,180,museum,,0,", row{lat: -900000, lon: -1800000, class: 1}},
		{"x,y,90.0,-180.0000,museum,,4294967295,", row{lat: 900000, lon: -1800000, class: 1, population: 4294967295}},
		{"x,y,-0.05,179.9999,locality|political,,1,", row{lat: -500, lon: 1799999, population: 1}},
		{"x,y,007.5,0.1,unlisted_type,,1,", row{lat: 75000, lon: 1000, population: 1, class: 2}},
	} {
		got, err := p.row(commasToTabs.Replace(test.line))
		if err != nil || got != test.want {
			t.Errorf("row(%q) = %+v, %v, want %+v", test.line, got, err, test.want)
		}
	}
	for i, want := range []class{
		{types: []string{"locality", "political"}, locality: true, kind: kinds["locality"]},
		{types: []string{"museum"}, kind: kinds["museum"]},
		{types: []string{"unlisted_type"}, kind: kinds["point_of_interest"]},
	} {
		if got := p.classes[i]; fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("class %d = %v, want %v", i, got, want)
		}
	}
}

func TestParseMalformed(t *testing.T) {
	for _, test := range []struct{ line, want string }{
		{"", "line 3: got 1 fields, want 8"},
		{"gn:1,Here,34,-118,locality,US,5", "line 3: got 7 fields, want 8"},
		{"gn:1,Here,34,-118,locality,US,5,x,y", "line 3: got 9 fields, want 8"},
		{",Here,34,-118,locality,US,5,x", `line 3: id "", name "Here": want both to be non-empty`},
		{"gn:1,,34,-118,locality,US,5,x", `line 3: id "gn:1", name "": want both to be non-empty`},
		{"gn:1,Here,90.0001,-118,locality,US,5,x", `line 3: latitude "90.0001": want -90 to 90 degrees with at most four decimals`},
		{"gn:1,Here,-91,-118,locality,US,5,x", `line 3: latitude "-91": want -90 to 90 degrees with at most four decimals`},
		{"gn:1,Here,a,-118,locality,US,5,x", `line 3: latitude "a": want -90 to 90 degrees with at most four decimals`},
		{"gn:1,Here,,-118,locality,US,5,x", `line 3: latitude "": want -90 to 90 degrees with at most four decimals`},
		{"gn:1,Here,34,180.0001,locality,US,5,x", `line 3: longitude "180.0001": want -180 to 180 degrees with at most four decimals`},
		{"gn:1,Here,34,1.23456,locality,US,5,x", `line 3: longitude "1.23456": want -180 to 180 degrees with at most four decimals`},
		{"gn:1,Here,34,0001,locality,US,5,x", `line 3: longitude "0001": want -180 to 180 degrees with at most four decimals`},
		{"gn:1,Here,34,1.,locality,US,5,x", `line 3: longitude "1.": want -180 to 180 degrees with at most four decimals`},
		{"gn:1,Here,34,.5,locality,US,5,x", `line 3: longitude ".5": want -180 to 180 degrees with at most four decimals`},
		{"gn:1,Here,34,1e2,locality,US,5,x", `line 3: longitude "1e2": want -180 to 180 degrees with at most four decimals`},
		{"gn:1,Here,34,--1,locality,US,5,x", `line 3: longitude "--1": want -180 to 180 degrees with at most four decimals`},
		{"gn:1,Here,34,+1,locality,US,5,x", `line 3: longitude "+1": want -180 to 180 degrees with at most four decimals`},
		{"gn:1,Here,34,1/2,locality,US,5,x", `line 3: longitude "1/2": want -180 to 180 degrees with at most four decimals`},
		{"gn:1,Here,34,-118,,US,5,x", `line 3: types "": want one or more, separated by |`},
		{"gn:1,Here,34,-118,locality|,US,5,x", `line 3: types "locality|": want one or more, separated by |`},
		{"gn:1,Here,34,-118,locality,us,5,x", `line 3: country "us": want two capital letters or an empty field`},
		{"gn:1,Here,34,-118,locality,USA,5,x", `line 3: country "USA": want two capital letters or an empty field`},
		{"gn:1,Here,34,-118,locality,US,,x", `line 3: population "": want an integer from 0 to 4294967295`},
		{"gn:1,Here,34,-118,locality,US,-1,x", `line 3: population "-1": want an integer from 0 to 4294967295`},
		{"gn:1,Here,34,-118,locality,US,4294967296,x", `line 3: population "4294967296": want an integer from 0 to 4294967295`},
	} {
		_, err := Read(strings.NewReader(tsv(validLine, test.line, validLine)))
		if err == nil || err.Error() != test.want {
			t.Errorf("Read with %q = %v, want %s", test.line, err, test.want)
		}
	}
}

func TestParseTooManyClasses(t *testing.T) {
	var lines []string
	for i := range 257 {
		lines = append(lines, fmt.Sprintf("x,y,0,0,type_%d,,0,", i))
	}
	if _, err := Read(strings.NewReader(tsv(lines[:256]...))); err != nil {
		t.Errorf("Read with 256 combinations of types = %v, want nil", err)
	}
	_, err := Read(strings.NewReader(tsv(lines...)))
	if want := `line 258: types "type_256": more than 256 combinations`; err == nil || err.Error() != want {
		t.Errorf("Read with 257 combinations of types = %v, want %s", err, want)
	}
}

func TestReadHeader(t *testing.T) {
	for _, text := range []string{"", "\n", "id\tname\n", "gn:1\tHere\n", "\ufeff" + header} {
		if _, err := Read(strings.NewReader(text)); err == nil || !strings.HasPrefix(err.Error(), "line 1: ") {
			t.Errorf("Read(%q) = %v, want an error on line 1", text, err)
		}
	}
	for text, want := range map[string]int{
		header:         0,
		header + "\n":  0,
		tsv(validLine): 1,
		strings.TrimSuffix(tsv(validLine, validLine), "\n"): 2,
	} {
		g, err := Read(strings.NewReader(text))
		if err != nil || len(g.ix.rows) != want {
			t.Errorf("Read(%q) = %v, want %d rows", text, err, want)
		}
	}
	readErr := errors.New("read error")
	if _, err := Read(iotest.ErrReader(readErr)); !errors.Is(err, readErr) {
		t.Errorf("Read = %v, want the reader's error", err)
	}
}
