// Package printable makes text from outside safe to show: in logs, events, status and on
// terminals. What it returns has no control characters (C0, DEL and C1), no invalid UTF-8,
// and none of the invisible characters that reorder text or break lines.
package printable

import (
	"io"
	"strconv"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"
)

// Is reports whether text is valid UTF-8 and has only printable characters, as
// unicode.IsPrint defines them. U+0020 is the only space among them.
func Is[T ~string | ~[]byte](text T) bool {
	for i := 0; i < len(text); {
		size := printable(text, i)
		if size == 0 {
			return false
		}
		i += size
	}
	return true
}

// printable is the size of the printable character at text[i], or 0.
func printable[T ~string | ~[]byte](text T, i int) int {
	if b := text[i]; b < utf8.RuneSelf {
		if b < ' ' || b == 0x7f {
			return 0
		}
		return 1
	}
	r, size := decode(text, i)
	if r == utf8.RuneError && size == 1 || !unicode.IsPrint(r) {
		return 0
	}
	return size
}

// decode decodes the character at text[i].
func decode[T ~string | ~[]byte](text T, i int) (rune, int) {
	return utf8.DecodeRuneInString(string(text[i:min(i+utf8.UTFMax, len(text))]))
}

// Line returns text on one line, with everything that is not printable escaped: \n, \r, \t
// and \u001b as in JSON, a byte that is not UTF-8 as \xff. A backslash stays as it is, so
// the text cannot always be recovered: use AppendValue for that. Line(Line(text)) is
// Line(text).
func Line(text string) string {
	if Is(text) {
		return text
	}
	return string(appendEscaped(nil, text, false))
}

// Clip is Line of the beginning of a text: at most limit bytes of it, and then "…" in
// place of the rest.
func Clip(text string, limit int) string {
	if len(text) <= limit {
		return Line(text)
	}
	for limit > 0 && !utf8.RuneStart(text[limit]) {
		limit--
	}
	return Line(text[:limit]) + "…"
}

// AppendValue appends a value to a line: as it is, or quoted as a Go string if it has
// anything that is not printable. A value that begins with a quote is quoted too, so that
// strconv.Unquote recovers each value that begins with one.
func AppendValue(line, value []byte) []byte {
	if len(value) > 0 && value[0] == '"' || !Is(value) {
		return strconv.AppendQuote(line, string(value))
	}
	return append(line, value...)
}

// Writer returns a writer that passes text on to w with everything escaped as by Line,
// except line feeds. JSON stays valid JSON of the same meaning. Each call of Write should
// have whole characters.
func Writer(w io.Writer) io.Writer { return writer{w} }

type writer struct{ to io.Writer }

func (w writer) Write(text []byte) (int, error) {
	if escaped := appendEscaped(nil, text, true); len(escaped) != len(text) {
		if _, err := w.to.Write(escaped); err != nil {
			return 0, err
		}
		return len(text), nil
	}
	return w.to.Write(text) // every escape is longer than what it stands for
}

// appendEscaped appends text with everything escaped that is not printable, except line
// feeds if they are kept.
func appendEscaped[T ~string | ~[]byte](b []byte, text T, keepLF bool) []byte {
	for i := 0; i < len(text); {
		if size := printable(text, i); size > 0 {
			b = append(b, text[i:i+size]...)
			i += size
			continue
		}
		r, size := decode(text, i)
		switch {
		case r == '\n' && keepLF:
			b = append(b, '\n')
		case r == '\n':
			b = append(b, `\n`...)
		case r == '\r':
			b = append(b, `\r`...)
		case r == '\t':
			b = append(b, `\t`...)
		case r == utf8.RuneError && size == 1:
			b = append(b, '\\', 'x', hex[text[i]>>4], hex[text[i]&15])
		case r > 0xffff:
			high, low := utf16.EncodeRune(r)
			b = appendUnit(appendUnit(b, high), low)
		default:
			b = appendUnit(b, r)
		}
		i += size
	}
	return b
}

const hex = "0123456789abcdef"

// appendUnit appends a code unit of UTF-16 as JSON escapes it.
func appendUnit(b []byte, r rune) []byte {
	return append(b, '\\', 'u', hex[r>>12&15], hex[r>>8&15], hex[r>>4&15], hex[r&15])
}
