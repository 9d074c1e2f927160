package wire

import "strconv"

// Verb says what a client asks for.
type Verb uint8

// The verbs. Invalid is every line that is no command, the herd's own AT
// included.
const (
	Invalid Verb = iota
	IAmAt
	WhatsAt
)

// Command is one parsed line of a client. Its slices point into that line.
type Command struct {
	Verb   Verb
	Client []byte

	Location []byte  // IAMAT: as the client wrote it
	TimeText []byte  // IAMAT: as the client wrote it, all digits
	Time     Instant // IAMAT: what of TimeText counts

	Radius float64 // WHATSAT: kilometres, 0 to 50
	Bound  int     // WHATSAT: most places wanted, 0 to 20
}

// ParseCommand reads one line, without its LF. It never fails: what is no
// command has the verb Invalid and nothing else. Whether the client of a
// WHATSAT is known is not for the grammar to say.
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

// AppendInvalid appends the reply to a line that is no command: `? `, an exact
// copy, LF.
func AppendInvalid(dst, line []byte) []byte {
	dst = append(dst, "? "...)
	dst = append(dst, line...)
	return append(dst, '\n')
}

// fields splits line at its white space and reports whether there are exactly
// four fields. bytes.Fields would split at NBSP and NEL too.
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

// isSpace tells the six ASCII white-space bytes, HT LF VT FF CR and SP, from
// all others.
func isSpace(b byte) bool {
	return b <= ' ' && (b == ' ' || '\t' <= b && b <= '\r')
}
