package wire

import (
	"math"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func TestParseNear(t *testing.T) {
	for _, tt := range []struct {
		request string
		want    Near
	}{
		{"+34.5-118.25 10", Near{Lat: 34.5, Lon: -118.25, KM: 10, Limit: 20}},
		{" \t-0+180\r\v0.5\f1000\n", Near{Lat: math.Copysign(0, -1), Lon: 180, KM: .5, Limit: 1000}},
		{"kiwi 20040.000 1", Near{Client: []byte("kiwi"), KM: 20_040, Limit: 1}},
		{"+91+0 0 007", Near{Client: []byte("+91+0"), Limit: 7}},
		{"+1+1x 1", Near{Client: []byte("+1+1x"), KM: 1, Limit: 20}},
		{"a\xffb\u00a0c 1", Near{Client: []byte("a\xffb\u00a0c"), KM: 1, Limit: 20}},
	} {
		if got, err := ParseNear([]byte(tt.request)); err != nil || !cmp.Equal(got, tt.want) {
			t.Errorf("ParseNear(%q) = %+v, %v, want %+v", tt.request, got, err, tt.want)
		}
	}
	for request, want := range map[string]string{
		"": "location or a client", "kiwi": "location or a client", "kiwi 1 2 3": "location or a client", "+34 -118 10 20": "location or a client",
		"kiwi -1": `"-1" is not a number of kilometres`, "kiwi 5.": "kilometres", "kiwi 1e3": "kilometres", "kiwi nan": "kilometres", "kiwi 20040.0001": "kilometres",
		"kiwi 1 0": `"0" is not a number of clients`, "kiwi 1 1001": "clients", "kiwi 1 2.5": "clients", "kiwi 1 -2": "clients", "kiwi 1 2x": "clients",
		"kiwi " + strings.Repeat("x", 5000): "kilometres", "kiwi 1 99999999999999999999": "clients",
	} {
		if _, err := ParseNear([]byte(request)); err == nil || !strings.Contains(err.Error(), want) || len(err.Error()) > 300 || strings.Contains(err.Error(), "\n") {
			t.Errorf("ParseNear(%.80q) = %v, want one line with %q", request, err, want)
		}
	}
}

// TestParsePosition: positions are those of strconv, to the last bit.
func TestParsePosition(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		lat := rapid.StringMatching(`[+-][0-8]?\d(\.\d{1,20})?`).Draw(t, "latitude")
		lon := rapid.StringMatching(`[+-]0{0,2}1?[0-7]?\d(\.\d{1,20})?`).Draw(t, "longitude")
		wantLat, err1 := strconv.ParseFloat(lat, 64)
		wantLon, err2 := strconv.ParseFloat(lon, 64)
		if err1 != nil || err2 != nil {
			t.Fatal(err1, err2)
		}
		gotLat, gotLon, ok := ParsePosition([]byte(lat + lon))
		if !ok || math.Float64bits(gotLat) != math.Float64bits(wantLat) || math.Float64bits(gotLon) != math.Float64bits(wantLon) {
			t.Fatalf("ParsePosition(%s%s) = %v, %v, %v, want %v, %v", lat, lon, gotLat, gotLon, ok, wantLat, wantLon)
		}
	})
	for _, bad := range []string{"", "-", "+1", "+1+", "+1+1 ", "1+1", "+91+1", "+1+181", "+1+1+1"} {
		if lat, lon, ok := ParsePosition([]byte(bad)); ok {
			t.Errorf("ParsePosition(%q) = %v, %v", bad, lat, lon)
		}
	}
}

func TestFound(t *testing.T) {
	const record = "AT Goloman +0.263873386 kiwi +34.068930-118.445127 1621464827.959498503"
	line := AppendFound([]byte("before "), 1234.5678, []byte(record))
	if want := "before 1234.568 " + record + "\n"; string(line) != want {
		t.Errorf("AppendFound = %q, want %q", line, want)
	}
	if km, r, err := ParseFound([]byte("1234.568 " + record)); err != nil || km != 1234.568 || string(r.Line) != record {
		t.Errorf("ParseFound = %v, %q, %v", km, r.Line, err)
	}
	for _, bad := range []string{"", "1", "1 ", record, "x " + record, "1 " + record + "\n", "-1 " + record} {
		if km, r, err := ParseFound([]byte(bad)); err == nil {
			t.Errorf("ParseFound(%q) = %v, %q", bad, km, r.Line)
		}
	}
}

// FuzzParseNear: what is accepted is within the bounds and means the same when it is written
// anew; errors are one short line.
func FuzzParseNear(f *testing.F) {
	for _, request := range []string{"+34.07-118.45 10 20", "kiwi 0.5", "-0-0 20040 1000", "\xff\t1\r1\n", "a b c d", "+90.0+180.0 1."} {
		f.Add([]byte(request))
	}
	f.Fuzz(func(t *testing.T, request []byte) {
		n, err := ParseNear(request)
		if err != nil {
			if len(err.Error()) > 300 || strings.ContainsAny(err.Error(), "\n\x1b") {
				t.Errorf("ParseNear(%q): %q", request, err)
			}
			return
		}
		if n.Limit < 1 || n.Limit > MaxNearLimit || !(n.KM >= 0 && n.KM <= MaxNearKM) || !(n.Lat >= -90 && n.Lat <= 90) || !(n.Lon >= -180 && n.Lon <= 180) {
			t.Errorf("ParseNear(%q) = %+v", request, n)
		}
		where := string(n.Client)
		if n.Client == nil {
			format := func(v float64) string {
				s := strconv.FormatFloat(v, 'f', -1, 64)
				if !strings.HasPrefix(s, "-") {
					s = "+" + s
				}
				return s
			}
			where = format(n.Lat) + format(n.Lon)
		}
		again := where + " " + strconv.FormatFloat(n.KM, 'f', -1, 64) + " " + strconv.Itoa(n.Limit)
		if m, err := ParseNear([]byte(again)); err != nil || !cmp.Equal(m, n) {
			t.Errorf("ParseNear(%q) = %+v, and ParseNear(%q) = %+v, %v", request, n, again, m, err)
		}
	})
}
