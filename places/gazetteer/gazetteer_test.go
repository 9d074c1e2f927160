package gazetteer

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"strings"
	"sync"
	"testing"

	"herd/places"
)

var loadOnce = sync.OnceValues(func() (*Gazetteer, error) {
	g := New()
	return g, g.Load()
})

// builtinGazetteer returns the built-in gazetteer, loaded once for all tests.
func builtinGazetteer(tb testing.TB) *Gazetteer {
	tb.Helper()
	g, err := loadOnce()
	if err != nil {
		tb.Fatal(err)
	}
	return g
}

// In these tests, the lines of a file are written with commas instead of tabs, for readability.
var commasToTabs = strings.NewReplacer(",", "\t")

// validLine is such a line, and validQuery finds its place.
const validLine = "gn:1,Here,34.0689,-118.4451,locality|political,US,500,geonames"

var validQuery = places.Query{Lat: 34.0689, Lon: -118.4451, Radius: 100, Bound: 20}

// tsv returns a file with these lines.
func tsv(lines ...string) string {
	text := header + "\n"
	for _, l := range lines {
		text += commasToTabs.Replace(l) + "\n"
	}
	return text
}

// readLines returns a gazetteer of these lines.
func readLines(t *testing.T, lines ...string) *Gazetteer {
	t.Helper()
	g, err := Read(strings.NewReader(tsv(lines...)))
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// The numbers are those in README.md.
func TestBuiltin(t *testing.T) {
	ix := builtinGazetteer(t).ix
	localities, populated := 0, 0
	for i := range ix.rows {
		if ix.classes[ix.rows[i].class].locality {
			localities++
		}
		if ix.rows[i].population > 0 {
			populated++
		}
	}
	if len(ix.rows) != 263_649 || localities != 219_799 || populated != 168_986 {
		t.Errorf("%d places, %d localities, %d with a population", len(ix.rows), localities, populated)
	}
	for _, c := range ix.classes {
		if _, ok := kinds[c.types[0]]; !ok {
			t.Errorf("no kind for main type %q", c.types[0])
		}
	}
}

func compress(t *testing.T, text string) string {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if _, err := w.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestNearbyLoads(t *testing.T) {
	g := newGazetteer(compress(t, tsv(validLine)))
	body, err := g.Nearby(t.Context(), validQuery)
	if err != nil || !strings.Contains(string(body), `"gn:1"`) {
		t.Errorf("Nearby before any Load = %s, %v, want gn:1", body, err)
	}
}

func TestNearbyContext(t *testing.T) {
	g := newGazetteer(compress(t, tsv(validLine)))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := g.Nearby(ctx, validQuery)
	checkUnknownError(t, err, "the gazetteer is still loading", context.Canceled)

	// Once the gazetteer is loaded, the context does not matter.
	if err := g.Load(); err != nil {
		t.Fatal(err)
	}
	if _, err := g.Nearby(ctx, validQuery); err != nil {
		t.Errorf("Nearby of a loaded gazetteer = %v, want nil", err)
	}
}

// checkUnknownError checks that err is an UNKNOWN_ERROR with that message and cause.
func checkUnknownError(t *testing.T, err error, message string, cause error) {
	t.Helper()
	var e *places.Error
	if !errors.As(err, &e) || e.Status != "UNKNOWN_ERROR" || e.Message != message || !errors.Is(err, cause) {
		t.Errorf("Nearby = %v, want UNKNOWN_ERROR, %s, %v", err, message, cause)
	}
}

func TestLoadFails(t *testing.T) {
	valid := compress(t, tsv(validLine))
	for name, list := range map[string]string{
		"empty":      "",
		"short":      "\x1f\x8b",
		"not gzip":   tsv(validLine),
		"truncated":  valid[:len(valid)-9],
		"wrong size": valid[:len(valid)-4] + "\xff\xff\xff\xff",
		"bad row":    compress(t, tsv(validLine, "x,y")),
	} {
		t.Run(name, func(t *testing.T) {
			g := newGazetteer(list)
			err := g.Load()
			if err == nil || !strings.HasPrefix(err.Error(), "load gazetteer: ") {
				t.Errorf("Load = %v, want an error that begins with load gazetteer", err)
			}
			if again := g.Load(); again != err {
				t.Errorf("second Load = %v, want %v", again, err)
			}
			_, nearby := g.Nearby(t.Context(), validQuery)
			checkUnknownError(t, nearby, "the gazetteer could not be loaded", err)
		})
	}
}

func TestLoadOnce(t *testing.T) {
	g := newGazetteer(compress(t, tsv(validLine)))
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			if err := g.Load(); err != nil {
				t.Error(err)
			}
			if _, err := g.Nearby(t.Context(), validQuery); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	before := g.ix
	if err := g.Load(); err != nil || g.ix != before {
		t.Errorf("a later Load = %v, or it replaced the index", err)
	}

	g = readLines(t, validLine)
	before = g.ix
	if err := g.Load(); err != nil || g.ix != before {
		t.Errorf("Load after Read = %v, or it replaced the index", err)
	}
}

func TestNearbyChecksQuery(t *testing.T) {
	bad := validQuery
	bad.Bound = 21
	var e *places.Error
	if _, err := New().Nearby(t.Context(), bad); !errors.As(err, &e) || e.Status != "INVALID_REQUEST" {
		t.Errorf("Nearby(%+v) = %v, want INVALID_REQUEST", bad, err)
	}
}
