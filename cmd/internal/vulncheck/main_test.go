package main

import (
	"errors"
	"strings"
	"testing"
	"time"
)

// output is what govulncheck -format json prints, shortened.
const output = `
{"config": {"scanner_name": "govulncheck", "scan_level": "symbol"}}
{"progress": {"message": "Scanning your code"}}
{"osv": {"id": "GO-1", "summary": "Crash in net/http"}}
{"osv": {"id": "GO-2", "summary": "Crash in lib"}}
{"osv": {"id": "GO-3", "summary": "Unused"}}
{"finding": {"osv": "GO-3", "fixed_version": "v1.1.0", "trace": [{"module": "example.org/unused", "version": "v1.0.0"}]}}
{"finding": {"osv": "GO-2", "trace": [{"module": "example.org/lib", "version": "v0.4.0", "package": "example.org/lib"}]}}
{"finding": {"osv": "GO-2", "trace": [
	{"module": "example.org/lib", "version": "v0.4.0", "package": "example.org/lib", "function": "Parse"},
	{"module": "herd", "package": "herd/node", "function": "load"}]}}
{"finding": {"osv": "GO-1", "fixed_version": "v1.26.9", "trace": [
	{"module": "stdlib", "version": "v1.26.8", "package": "net/http", "function": "Do", "receiver": "*Client"},
	{"module": "example.org/lib", "package": "example.org/lib", "function": "Get"},
	{"module": "herd", "package": "herd/places", "function": "ask"}]}}
{"finding": {"osv": "GO-1", "fixed_version": "v1.26.9", "trace": [
	{"module": "stdlib", "version": "v1.26.8", "package": "net/http", "function": "Get"},
	{"module": "herd", "package": "herd/places", "function": "other"}]}}
`

func TestReport(t *testing.T) {
	found, err := read(strings.NewReader(output))
	if err != nil {
		t.Fatal(err)
	}
	fixed := time.Date(2026, 10, 2, 20, 0, 0, 0, time.UTC)
	const unfixed = "warning: GO-2 in example.org/lib: Crash in lib; no fix yet; herd/node.load calls example.org/lib.Parse\n"
	for _, test := range []struct {
		name string
		age  time.Duration
		err  error
		ok   bool
		want string
	}{
		{"young", grace, nil, true,
			"warning: GO-1 in stdlib: Crash in net/http; fixed in v1.26.9, released 2026-10-02; herd/places.ask calls net/http.(*Client).Do\n" + unfixed},
		{"old", grace + time.Second, nil, false,
			"error: GO-1 in stdlib: Crash in net/http; fixed in v1.26.9, released 2026-10-02; herd/places.ask calls net/http.(*Client).Do\n" + unfixed},
		{"unknown", 0, errors.New("not served"), false,
			"error: GO-1 in stdlib: Crash in net/http; fixed in v1.26.9 (not served); herd/places.ask calls net/http.(*Client).Do\n" + unfixed},
	} {
		t.Run(test.name, func(t *testing.T) {
			var out strings.Builder
			ok := report(&out, found, func(module, version string) (time.Time, error) {
				if module != "stdlib" || version != "v1.26.9" {
					t.Errorf("released(%q, %q), want only stdlib v1.26.9", module, version)
				}
				return fixed, test.err
			}, fixed.Add(test.age))
			if ok != test.ok || out.String() != test.want {
				t.Errorf("report = %v, want %v; printed\n%swant\n%s", ok, test.ok, out.String(), test.want)
			}
		})
	}
}

func TestReadIncomplete(t *testing.T) {
	for _, output := range []string{"", `{"config": {"scan_level": "module"}}`, output + `{"finding": `} {
		if found, err := read(strings.NewReader(output)); err == nil {
			t.Errorf("read(%q) = %v, want an error", output, found)
		}
	}
}
