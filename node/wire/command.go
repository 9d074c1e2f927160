package wire

import (
	"slices"
	"strconv"
)

// Verb is the kind of a command.
type Verb uint8

// The verbs. A line that is not a command is Invalid; so is AT, which only servers send.
const (
	Invalid Verb = iota
	IAmAt
	WhatsAt
)

// Command is a parsed line from a client. Its slices point into that line.
type Command struct {
	Verb   Verb
	Client []byte

	Location []byte  // IAMAT: as the client wrote it
	TimeText []byte  // IAMAT: as the client wrote it
	Time     Instant // IAMAT: the value of TimeText, to the nanosecond

	Radius float64 // WHATSAT: kilometres, 0 to 50
	Bound  int     // WHATSAT: maximum number of places, 0 to 20
}

// ParseCommand parses one line, given without its LF. It never fails: for a line that is
// not a command it returns only the verb Invalid. It does not check whether the client of
// a WHATSAT is known.
func ParseCommand(line []byte) Command {
	var f [4][]byte
	if !fields(line, &f) {
		return Command{}
	}
	switch string(f[0]) {
	case "IAMAT":
		t, ok := parseTime(f[3])
		if !ok || location(f[2]) != len(f[2]) {
			return Command{}
		}
		return Command{Verb: IAmAt, Client: f[1], Location: f[2], TimeText: f[3], Time: t}
	case "WHATSAT":
		length, within := number(f[2], maxRadius)
		bound, ok := parseBound(f[3])
		if length != len(f[2]) || !within || !ok {
			return Command{}
		}
		radius, _ := strconv.ParseFloat(string(f[2]), 64)
		return Command{Verb: WhatsAt, Client: f[1], Radius: radius, Bound: bound}
	}
	return Command{}
}

// AppendInvalid appends the reply to a line that is not a command: `? `, an exact copy of
// the line, LF.
func AppendInvalid(dst, line []byte) []byte {
	dst = append(dst, "? "...)
	dst = append(dst, line...)
	return append(dst, '\n')
}

// fields splits line at white space and reports whether it has exactly four fields.
// bytes.Fields would also split at NBSP and NEL.
func fields(line []byte, f *[4][]byte) bool {
	n := 0
	for i := 0; ; {
		for i < len(line) && isSpace(line[i]) {
			i++
		}
		if i == len(line) {
			return n == len(f)
		}
		if n == len(f) {
			return false
		}
		start := i
		for i < len(line) && !isSpace(line[i]) {
			i++
		}
		f[n] = line[start:i]
		n++
	}
}

// IsClient reports whether s may be a client's name: some bytes, at most MaxClient, without white
// space.
func IsClient(s string) bool {
	return s != "" && len(s) <= MaxClient && !slices.ContainsFunc([]byte(s), isSpace)
}

// isSpace reports whether b is ASCII white space: HT, LF, VT, FF, CR or SP.
func isSpace(b byte) bool {
	return b <= ' ' && (b == ' ' || '\t' <= b && b <= '\r')
}
