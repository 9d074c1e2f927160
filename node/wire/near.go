package wire

import (
	"errors"
	"fmt"
	"strconv"
)

// The bounds of a request for the clients near a place: PROTOCOL.md, "Who is near".
const (
	MaxNearKM        = 20_040 // no two places are farther apart than 20,015.2 km
	MaxNearLimit     = 1000
	DefaultNearLimit = 20
)

// Near is a request for the clients near a location, or near a client.
type Near struct {
	Client   []byte // nil: near a location. It points into the request
	Lat, Lon float64
	KM       float64 // maximum distance
	Limit    int     // maximum number of clients; the nearest are returned
}

// ParseNear parses a request. Its error is one line, with what is wrong.
func ParseNear(request []byte) (n Near, err error) {
	var f [4][]byte
	count := someFields(request, f[:])
	if count < 2 || count > 3 {
		return Near{}, errors.New("the request must be a location or a client, then kilometres, then perhaps how many clients: +34.07-118.45 10 20")
	}
	length, within := number(f[1], MaxNearKM)
	if length != len(f[1]) || !within {
		return Near{}, fmt.Errorf("%.40q is not a number of kilometres from 0 to %d", f[1], MaxNearKM)
	}
	n.KM, _ = strconv.ParseFloat(string(f[1]), 64)
	n.Limit = DefaultNearLimit
	if count == 3 {
		length, within := number(f[2], MaxNearLimit)
		n.Limit, _ = strconv.Atoi(string(f[2]))
		if length != len(f[2]) || !within || n.Limit == 0 {
			return Near{}, fmt.Errorf("%.40q is not a number of clients from 1 to %d", f[2], MaxNearLimit)
		}
	}
	var ok bool
	if n.Lat, n.Lon, ok = ParsePosition(f[0]); !ok {
		n.Client = f[0]
	}
	return n, nil
}

// someFields splits b at white space into f, and returns the number of its fields: len(f) for
// that many or more.
func someFields(b []byte, f [][]byte) (n int) {
	for i := 0; n < len(f); n++ {
		for i < len(b) && isSpace(b[i]) {
			i++
		}
		if i == len(b) {
			return n
		}
		length := field(b[i:])
		f[n] = b[i : i+length]
		i += length
	}
	return n
}

// ParsePosition parses a whole location, and returns its latitude and longitude in degrees,
// rounded to floats.
func ParsePosition(b []byte) (lat, lon float64, ok bool) {
	n := coordinate(b, maxLatitude)
	if n == 0 || n == len(b) || coordinate(b[n:], maxLongitude) != len(b)-n {
		return 0, 0, false
	}
	return degrees(b[:n]), degrees(b[n:]), true
}

// degrees is the value of a coordinate. Where its digits and the power of ten are exact as
// floats, one division rounds as strconv does, in a fraction of the time.
func degrees(b []byte) float64 {
	const exactDigits = 15 // 10^15 is less than 2^53, and 10^22 is exact
	digits, decimals := uint64(0), 0
	if len(b) > exactDigits {
		value, _ := strconv.ParseFloat(string(b), 64)
		return value
	}
	for i, c := range b[1:] {
		if c == '.' {
			decimals = len(b) - 2 - i
			continue
		}
		digits = digits*10 + uint64(c-'0')
	}
	value := float64(digits) / powers[decimals]
	if b[0] == '-' {
		return -value
	}
	return value
}

// powers are the powers of ten.
var powers = [...]float64{1, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15}

// AppendFound appends one line of the reply, with its LF: a client that is so far away.
func AppendFound(dst []byte, km float64, record []byte) []byte {
	dst = strconv.AppendFloat(dst, km, 'f', 3, 64)
	return append(append(append(dst, ' '), record...), '\n')
}

// ParseFound parses such a line, given without its LF.
func ParseFound(line []byte) (km float64, r Record, err error) {
	length, _ := number(line, MaxNearKM)
	if length == 0 || length == len(line) || line[length] != ' ' {
		return 0, Record{}, ErrNoRecord
	}
	km, _ = strconv.ParseFloat(string(line[:length]), 64)
	r, err = ParseRecord(line[length+1:])
	return km, r, err
}
