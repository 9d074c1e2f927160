package wire

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

// number is the length of the PROTOCOL.md number at the start of b, and whether
// its value is at most limit, compared exactly. 0 means that there is none.
// limit must be below 1,000,000.
func number(b []byte, limit int) (n int, within bool) {
	n = digits(b)
	if n == 0 {
		return 0, false
	}
	whole := 0
	for _, d := range b[:n] {
		whole = min(whole*10+int(d-'0'), 1_000_000)
	}
	within = whole <= limit
	if n == len(b) || b[n] != '.' {
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
	n := digits(b)
	if n < 1 || n > maxTimeDigits {
		return Instant{}, false
	}
	for _, d := range b[:n] {
		t.Sec = t.Sec*10 + int64(d-'0')
	}
	if n == len(b) {
		return t, true
	}
	fraction := b[n+1:]
	if b[n] != '.' || len(fraction) == 0 || digits(fraction) != len(fraction) {
		return Instant{}, false
	}
	for i := range 9 {
		t.Nsec *= 10
		if i < len(fraction) {
			t.Nsec += int32(fraction[i] - '0')
		}
	}
	return t, true
}

// parseDifference reads all of b as a PROTOCOL.md difference, written in its
// one canonical way.
func parseDifference(b []byte) (d Instant, ok bool) {
	const decimals = 9
	if len(b) < len("+0.000000000") || b[0] != '+' && b[0] != '-' {
		return Instant{}, false
	}
	negative, b := b[0] == '-', b[1:]
	whole := len(b) - decimals - 1
	if b[whole] != '.' || whole > 1 && b[0] == '0' || digits(b[whole+1:]) != decimals {
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

// splitLocation is the length of the latitude with its sign, if all of b is a
// PROTOCOL.md location; 0 if it is not.
func splitLocation(b []byte) int {
	lat := coordinate(b, maxLatitude)
	if lat == 0 || lat+coordinate(b[lat:], maxLongitude) != len(b) || lat == len(b) {
		return 0
	}
	return lat
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
