package gazetteer

import (
	"math"
	"math/rand/v2"
	"strings"
	"testing"
)

func TestPlusCode(t *testing.T) {
	for _, test := range []struct {
		lat, lon float64
		want     string
	}{
		// From the published test data of the format.
		{20.3700625, 2.7821875, "7FG49QCJ+2V"},
		{47.0000625, 8.0000625, "8FVC2222+22"},
		{-41.2730625, 174.7859375, "4VCPPQGP+Q9"},
		{-89.9999375, -179.9999375, "22222222+22"},
		{47.365590, 8.524997, "8FVC9G8F+6X"},
		{90, 1, "CFX3X2X2+X2"},
		// The corners of the map.
		{-90, -180, "22222222+22"},
		{90, 180, "C2X2X2X2+X2"},
		{1, 180, "62H22222+22"},
		{1, 181, "62H32222+22"},
		{1, -181, "6VHX2222+22"},
		{1, 179.9999, "6VHX2X2X+2X"},
		// On the edge of a cell, where floating point products may be too small.
		{-89.9985, -180, "22222222+J2"},
		{34.1, -118.1, "85634W22+22"},
	} {
		if got := plusCode(test.lat, test.lon); got != test.want {
			t.Errorf("plusCode(%v, %v) = %s, want %s", test.lat, test.lon, got, test.want)
		}
	}
}

// southWestCorner decodes a code of ten digits to the south-west corner of its cell.
func southWestCorner(code string) (lat, lon float64) {
	code = strings.Replace(code, "+", "", 1)
	size := 20.0
	lat, lon = -90, -180
	for i := 0; i < len(code); i += 2 {
		lat += size * float64(strings.IndexByte("23456789CFGHJMPQRVWX", code[i]))
		lon += size * float64(strings.IndexByte("23456789CFGHJMPQRVWX", code[i+1]))
		size /= 20
	}
	return lat, lon
}

func TestPlusCodeRoundTrip(t *testing.T) {
	const cell = 1.0 / 8000
	rnd := rand.New(rand.NewPCG(3, 4))
	for range 20_000 {
		lat, lon := 180*rnd.Float64()-90, 360*rnd.Float64()-180
		south, west := southWestCorner(plusCode(lat, lon))
		if lat-south < -1e-9 || lat-south > cell+1e-9 || lon-west < -1e-9 || lon-west > cell+1e-9 {
			t.Fatalf("plusCode(%v, %v) = %s, whose cell is at %v, %v", lat, lon, plusCode(lat, lon), south, west)
		}
	}
}

// If recoverable returns true, the short code resolves to the full code.
func TestRecoverable(t *testing.T) {
	rnd := rand.New(rand.NewPCG(5, 6))
	count := 0
	for range 20_000 {
		lat, lon := 170*rnd.Float64()-85, 360*rnd.Float64()-180
		if rnd.IntN(4) == 0 {
			lon = math.Copysign(180-rnd.Float64()/2, lon) // near the antimeridian
		}
		refLat, refLon := lat+rnd.Float64()-0.5, lon+rnd.Float64()-0.5
		if refLon < -180 {
			refLon += 360
		} else if refLon >= 180 {
			refLon -= 360
		}
		if !recoverable(lat, lon, refLat, refLon) {
			continue
		}
		count++
		code := plusCode(lat, lon)
		if got := resolve(code[omittedDigits:], refLat, refLon); got != code {
			t.Fatalf("%s, at %v, %v, resolves to %s from %v, %v", code, lat, lon, got, refLat, refLon)
		}
	}
	if count < 5000 || count > 9000 { // expected: 0.6 × 0.6 of 20,000
		t.Errorf("%d of 20000 are recoverable", count)
	}
}

func TestRecoverableAcrossAntimeridian(t *testing.T) {
	if !recoverable(10, 179.9, 10, -179.9) || recoverable(10, 179.8, 10, -179.8) {
		t.Error("recoverable across the antimeridian is false for 0.2 degrees or true for 0.4")
	}
}

// resolve completes a short code as the format defines it: with the square degree that puts it nearest to the reference.
func resolve(short string, refLat, refLon float64) string {
	best, nearest := "", math.Inf(1)
	for dLat := -1.0; dLat <= 1; dLat++ {
		for dLon := -1.0; dLon <= 1; dLon++ {
			code := plusCode(refLat+dLat, refLon+dLon)[:omittedDigits] + short
			lat, lon := southWestCorner(code)
			if d := math.Hypot(lat-refLat, math.Remainder(lon-refLon, 360)); d < nearest {
				best, nearest = code, d
			}
		}
	}
	return best
}
