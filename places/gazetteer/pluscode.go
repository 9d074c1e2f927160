package gazetteer

import "math"

// plusCode returns the Open Location Code of ten digits, "85633H93+HX", for a point in degrees. The pole is put into
// the cells below it, and longitudes are normalised.
//
// The algorithm is public: both coordinates, counted from the south pole and the antimeridian in units of 1/8000 of a
// degree, are written in base 20, five digits each, in turn, with a plus after the eighth.
func plusCode(lat, lon float64) string {
	const (
		digits  = "23456789CFGHJMPQRVWX"
		perUnit = 8000
	)
	y := min(units(lat+90, perUnit), 180*perUnit-1)
	x := units(lon+180, perUnit) % (360 * perUnit)
	if x < 0 {
		x += 360 * perUnit
	}
	var code [11]byte
	code[8] = '+'
	for _, at := range [...]int{9, 6, 4, 2, 0} {
		code[at], code[at+1] = digits[y%20], digits[x%20]
		y, x = y/20, x/20
	}
	return string(code[:])
}

// units counts whole units in degrees, after rounding to a millionth of one, as the reference implementations do: a
// decimal on the edge of a cell must not fall below it for want of a bit.
func units(degrees float64, perUnit float64) int64 {
	return int64(math.Floor(math.Round(degrees*perUnit*1e6) / 1e6))
}

// shortened is how many digits a short code lacks, those of the square degree.
const shortened = 4

// recoverable reports whether a short code of the point a can be read back by one who knows only about where b is. It
// can be while they are less than half a degree apart each way; the margin is for towns whose middle others put
// elsewhere.
func recoverable(aLat, aLon, bLat, bLon float64) bool {
	const margin = 0.3
	return math.Abs(aLat-bLat) < margin && math.Abs(math.Remainder(aLon-bLon, 360)) < margin
}
