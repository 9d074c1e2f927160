package wire

import "encoding/binary"

// Bounds of contract and grammar: PROTOCOL.md, "Commands".
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

// decimal is the value of the run of ASCII digits at the start of b, and its length.
// The value is right for up to maxTimeDigits of them.
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

// eightDigits is the value of the eight ASCII digits that b begins with, if it does:
// all at once, in the lanes of one word, for most of a record is digits.
func eightDigits(b []byte) (value int64, ok bool) {
	const ones = 0x0101010101010101
	if len(b) < 8 {
		return 0, false
	}
	v := binary.LittleEndian.Uint64(b)
	if v&(0xF0*ones) != 0x30*ones || (v+6*ones)&(0xF0*ones) != 0x30*ones { // 0x3A to 0x3F would reach 0x40
		return 0, false
	}
	v &= 0x0F * ones
	v = (v*10 + v>>8) & 0x00FF00FF00FF00FF
	v = (v*100 + v>>16) & 0x0000FFFF0000FFFF
	return int64((v*10_000 + v>>32) & 0xFFFFFFFF), true
}

// number is the length of the PROTOCOL.md number at the start of b, and whether
// its value is at most limit, compared exactly. 0 means that there is none.
// limit must be below 1,000,000.
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
		return 0, false // "5." is no number, and neither is what "5.x" starts with
	}
	if whole == limit {
		for _, d := range b[n+1 : n+1+fraction] {
			within = within && d == '0'
		}
	}
	return n + 1 + fraction, within
}

// parseTime reads all of b as a PROTOCOL.md time.
func parseTime(b []byte) (t Instant, ok bool) {
	sec, n := decimal(b)
	if n < 1 || n > maxTimeDigits {
		return Instant{}, false
	}
	if n == len(b) {
		return Instant{Sec: sec}, true
	}
	fraction := b[n+1:]
	counts := min(len(fraction), len(scale)-1)
	nsec, n := decimal(fraction[:counts])
	if b[len(b)-len(fraction)-1] != '.' || n == 0 || n < counts || digits(fraction[n:]) != len(fraction)-n {
		return Instant{}, false
	}
	return Instant{sec, int32(nsec * scale[n])}, true
}

// scale is, by the number of a fraction's digits, what its last one counts in
// nanoseconds.
var scale = [...]int64{1e9, 1e8, 1e7, 1e6, 1e5, 1e4, 1e3, 1e2, 10, 1}

// parseDifference reads all of b as a PROTOCOL.md difference, written in its
// one canonical way.
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

// location is the length of the PROTOCOL.md location at the start of b; 0 if there
// is none.
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

// coordinate is the length of the signed number at the start of b, if it is
// within limit; 0 if it is not.
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

// parseBound reads all of b as a whole number of 0 to 20.
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
