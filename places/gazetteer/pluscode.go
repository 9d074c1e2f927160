package gazetteer

import "math"

// plusCode returns the Open Location Code of ten digits for a point in degrees, for example "85633H93+HX". The north pole
// belongs to the cells south of it. Longitudes are normalised.
//
// The algorithm is public. Latitude is counted from the south pole and longitude from the antimeridian, in units of
// 1/8000 degree. Each is written as five digits in base 20. The digits alternate, and a plus sign follows the eighth.
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
	for _, i := range [...]int{9, 6, 4, 2, 0} {
		code[i], code[i+1] = digits[y%20], digits[x%20]
		y, x = y/20, x/20
	}
	return string(code[:])
}

// units returns the number of whole units in degrees. It first rounds to a millionth of a unit, as the reference
// implementations do. Otherwise a rounding error could put a decimal on the edge of a cell into the wrong cell.
func units(degrees float64, perUnit float64) int64 {
	return int64(math.Floor(math.Round(degrees*perUnit*1e6) / 1e6))
}

// omittedDigits is the number of leading digits that a short code omits. They identify the square degree.
const omittedDigits = 4

// recoverable reports whether a short code of point a can be resolved relative to point b. That requires less than half a
// degree between them in each direction. The margin is smaller, since data sources disagree on the centre of a town.
func recoverable(aLat, aLon, bLat, bLon float64) bool {
	const margin = 0.3
	return math.Abs(aLat-bLat) < margin && math.Abs(math.Remainder(aLon-bLon, 360)) < margin
}
