package load

import "bytes"

// The functions below check replies. Each returns the length of the reply at the start
// of b, or 0 if b does not begin with a complete and correct one.

// acknowledgement checks the reply to an IAMAT: prefix, which is `AT <server> `; a
// difference, whose length it returns too; a space; and fields, including LF.
func acknowledgement(b, prefix, fields []byte) (length, difference int) {
	if !bytes.HasPrefix(b, prefix) {
		return 0, 0
	}
	d := differenceLength(b[len(prefix):])
	if d == 0 || d > maxDifference {
		return 0, 0
	}
	rest := b[len(prefix)+d:]
	if len(rest) <= len(fields) || rest[0] != ' ' || !bytes.Equal(rest[1:1+len(fields)], fields) {
		return 0, 0
	}
	return len(prefix) + d + 1 + len(fields), d
}

// maxDifference is the length of the longest difference: a sign, 18 digits, a
// point and nine decimals.
const maxDifference = 1 + 18 + 1 + 9

// differenceLength is the length of the difference at the start of b, such as
// -0.500000000; 0 if there is none.
func differenceLength(b []byte) int {
	if len(b) == 0 || b[0] != '+' && b[0] != '-' {
		return 0
	}
	point := 1
	for point < len(b) && isDigit(b[point]) {
		point++
	}
	const decimals = 9
	end := point + 1 + decimals
	if point == 1 || end > len(b) || b[point] != '.' || point > 2 && b[1] == '0' {
		return 0
	}
	for _, c := range b[point+1 : end] {
		if !isDigit(c) {
			return 0
		}
	}
	if b[0] == '-' && bytes.Equal(b[1:end], []byte("0.000000000")) {
		return 0 // zero has a plus
	}
	return end
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

// serverName is the name in the AT line at the start of b; nil if there is none.
func serverName(b []byte) []byte {
	b, ok := bytes.CutPrefix(b, []byte("AT "))
	if !ok {
		return nil
	}
	name, _, ok := bytes.Cut(b, []byte(" "))
	if !ok || len(name) == 0 {
		return nil
	}
	for _, c := range name {
		if !isDigit(c) && c != '_' && (c|0x20 < 'a' || c|0x20 > 'z') {
			return nil
		}
	}
	return name
}

// answerLength is the length of the reply to a WHATSAT at the start of b, correct or
// not: one line, and after an AT line everything up to an empty line. It is 0 while the
// reply is incomplete.
func answerLength(b []byte) int {
	line := bytes.IndexByte(b, '\n') + 1
	if line == 0 || !bytes.HasPrefix(b, []byte("AT ")) {
		return line
	}
	end := bytes.Index(b[line:], []byte("\n\n"))
	if end < 0 {
		return 0
	}
	return line + end + 2
}

// isObject reports whether body, which follows an AT line, has the form of a WHATSAT's
// JSON: an object and two newlines.
func isObject(body []byte) bool {
	return len(body) > 0 && body[0] == '{' && bytes.HasSuffix(body, []byte("}\n\n"))
}
