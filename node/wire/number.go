package wire

import "encoding/binary"

// Limits of the grammar: PROTOCOL.md, "Commands".
const (
	maxLatitude   = 90
	maxLongitude  = 180
	maxRadius     = 50
	maxBound      = 20
	maxTimeDigits = 18
)

// digits is the length of the run of ASCII digits at the start of b.
func digits(b []byte) int {
	n := 0
	for n < len(b) && '0' <= b[n] && b[n] <= '9' {
		n++
	}
	return n
}

// decimal is the value and the length of the run of ASCII digits at the start of b. The
// value is correct if there are at most maxTimeDigits of them.
func decimal(b []byte) (value int64, n int) {
	if v, ok := eightDigits(b); ok {
		value, n = v, 8
	}
	for n < len(b) && '0' <= b[n] && b[n] <= '9' {
		value = value*10 + int64(b[n]-'0')
		n++
	}
	return value, n
}

// eightDigits is the value of the first eight bytes of b, if all of them are ASCII digits.
// It handles the eight bytes of a word in parallel, because most bytes of a record are
// digits.
func eightDigits(b []byte) (value int64, ok bool) {
	const ones = 0x0101010101010101
	if len(b) < 8 {
		return 0, false
	}
	v := binary.LittleEndian.Uint64(b)
	if v&(0xF0*ones) != 0x30*ones || (v+6*ones)&(0xF0*ones) != 0x30*ones { // plus 6, 0x3A to 0x3F become 0x40 and more
		return 0, false
	}
	v &= 0x0F * ones
	v = (v*10 + v>>8) & 0x00FF00FF00FF00FF
	v = (v*100 + v>>16) & 0x0000FFFF0000FFFF
	return int64((v*10_000 + v>>32) & 0xFFFFFFFF), true
}

// number is the length of the number (PROTOCOL.md) at the start of b, 0 if there is none.
// within reports whether its exact value is at most limit, which must be less than
// 1,000,000.
func number(b []byte, limit int) (n int, within bool) {
	whole := 0
	for n < len(b) && '0' <= b[n] && b[n] <= '9' {
		whole = min(whole*10+int(b[n]-'0'), 1_000_000)
		n++
	}
	within = whole <= limit
	if n == 0 || n == len(b) || b[n] != '.' {
		return n, within
	}
	fraction := digits(b[n+1:])
	if fraction == 0 {
		return 0, false // "5." is not a number, nor is the start of "5.x"
	}
	if whole == limit {
		for _, d := range b[n+1 : n+1+fraction] {
			within = within && d == '0'
		}
	}
	return n + 1 + fraction, within
}

// parseTime parses b as a time of PROTOCOL.md.
func parseTime(b []byte) (t Instant, ok bool) {
	sec, n := decimal(b)
	if n < 1 || n > maxTimeDigits {
		return Instant{}, false
	}
	if n == len(b) {
		return Instant{Sec: sec}, true
	}
	fraction := b[n+1:]
	used := min(len(fraction), len(scale)-1)
	nsec, n := decimal(fraction[:used])
	if b[len(b)-len(fraction)-1] != '.' || n == 0 || n < used || digits(fraction[n:]) != len(fraction)-n {
		return Instant{}, false
	}
	return Instant{sec, int32(nsec * scale[n])}, true
}

// scale is the value of the last digit of a fraction in nanoseconds, by the number of
// digits.
var scale = [...]int64{1e9, 1e8, 1e7, 1e6, 1e5, 1e4, 1e3, 1e2, 10, 1}

// parseDifference parses b as a difference of PROTOCOL.md. It accepts only the canonical
// form.
func parseDifference(b []byte) (d Instant, ok bool) {
	const decimals = 9
	if len(b) < len("+0.000000000") || b[0] != '+' && b[0] != '-' {
		return Instant{}, false
	}
	negative, b := b[0] == '-', b[1:]
	whole := len(b) - decimals - 1
	if b[whole] != '.' || whole > 1 && b[0] == '0' {
		return Instant{}, false
	}
	d, ok = parseTime(b)
	if !negative || !ok {
		return d, ok
	}
	if d == (Instant{}) {
		return Instant{}, false // zero is written +0.000000000
	}
	return Instant{}.Sub(d), true
}

// location is the length of the location (PROTOCOL.md) at the start of b; 0 if there is
// none.
func location(b []byte) int {
	lat := coordinate(b, maxLatitude)
	if lat == 0 {
		return 0
	}
	lon := coordinate(b[lat:], maxLongitude)
	if lon == 0 {
		return 0
	}
	return lat + lon
}

// coordinate is the length of the signed number at the start of b; 0 if there is none or
// if it exceeds limit.
func coordinate(b []byte, limit int) int {
	if len(b) == 0 || b[0] != '+' && b[0] != '-' {
		return 0
	}
	n, within := number(b[1:], limit)
	if n == 0 || !within {
		return 0
	}
	return 1 + n
}

// parseBound parses b as a whole number from 0 to maxBound.
func parseBound(b []byte) (n int, ok bool) {
	length, within := number(b, maxBound)
	if length != len(b) || digits(b) != len(b) || !within {
		return 0, false
	}
	for _, d := range b {
		n = n*10 + int(d-'0')
	}
	return n, true
}
