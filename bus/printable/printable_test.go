package printable

import (
	"bytes"
	"encoding/json"
	"strconv"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

func TestLine(t *testing.T) {
	for text, want := range map[string]string{
		"":                          "",
		"plain text, naïve, 日本\\":   "plain text, naïve, 日本\\",
		"a\nb\r\tc":                 `a\nb\r\tc`,
		"\x1b[2J\x00\x7f":           `\u001b[2J\u0000\u007f`,
		"C1 \u009b, raw \x9b":       `C1 \u009b, raw \x9b`,
		"bidi \u202e\u2066\u200f":   `bidi \u202e\u2066\u200f`,
		"lines \u2028\u2029\u0085":  `lines \u2028\u2029\u0085`,
		"spaces \u00a0\u3000\ufeff": `spaces \u00a0\u3000\ufeff`,
		"tag \U000e0041":            `tag \udb40\udc41`,
		"cut \xe2\x80":              `cut \xe2\x80`,
		"replacement \ufffd":        "replacement \ufffd",
		"surrogate \xed\xa0\x80":    `surrogate \xed\xa0\x80`,
	} {
		got := Line(text)
		if got != want {
			t.Errorf("Line(%q) = %q, want %q", text, got, want)
		}
		if !Is(got) || Is(text) != (text == want) {
			t.Errorf("Is(%q) = %v, Is(%q) = %v", got, Is(got), text, Is(text))
		}
	}
}

// TestEveryRune: no character that is not printable passes, in any position.
func TestEveryRune(t *testing.T) {
	for r := rune(0); r <= unicode.MaxRune; r++ {
		text := "a" + string(r) + "b"
		if got := Line(text); !unicode.IsPrint(r) && strings.ContainsRune(got, r) && r != utf8.RuneError || !Is(got) {
			t.Fatalf("Line(%q) = %q", text, got)
		}
	}
	for b := range 256 {
		if text := "a" + string([]byte{byte(b)}) + "b"; !Is(Line(text)) || Is(text) != (b >= ' ' && b < 0x7f) {
			t.Errorf("Line(%q) = %q", text, Line(text))
		}
	}
}

func TestClip(t *testing.T) {
	for _, tt := range []struct {
		text  string
		limit int
		want  string
	}{
		{"abc", 3, "abc"},
		{"abcd", 3, "abc…"},
		{"aéé", 4, "aé…"}, // not within a character
		{"a\x1b\x1b", 2, `a\u001b…`},
		{"\x80\x80\x80", 2, "…"},
	} {
		if got := Clip(tt.text, tt.limit); got != tt.want {
			t.Errorf("Clip(%q, %d) = %q, want %q", tt.text, tt.limit, got, tt.want)
		}
	}
}

func TestAppendValue(t *testing.T) {
	for value, quoted := range map[string]bool{
		"":                              false,
		"AT A +0.000000000 kiwi +1+1 1": false,
		"naïve":                         false,
		`a "quoted" \word`:              false,
		`"quoted"`:                      true,
		"tab\there":                     true,
		"nul\x00":                       true,
		"del\x7f":                       true,
		"\r":                            true,
		"raw \x9b":                      true,
		"c1 \u009b":                     true,
		"bidi \u202e":                   true,
		"line \u2028":                   true,
	} {
		got := string(AppendValue([]byte("> "), []byte(value)))
		want := "> " + value
		if quoted {
			want = "> " + strconv.Quote(value)
		}
		if got != want || !Is(got) {
			t.Errorf("AppendValue(%q) = %q, want %q", value, got, want)
		}
	}
}

// TestWriter: lines stay lines, and JSON keeps its meaning.
func TestWriter(t *testing.T) {
	var out bytes.Buffer
	w := Writer(&out)
	for _, text := range []string{"one\n", "\x1b[2Jtwo\r\n\n", "three"} {
		if n, err := w.Write([]byte(text)); n != len(text) || err != nil {
			t.Errorf("Write(%q) = %d, %v", text, n, err)
		}
	}
	if got, want := out.String(), "one\n\\u001b[2Jtwo\\r\n\nthree"; got != want {
		t.Errorf("wrote %q, want %q", got, want)
	}

	value := map[string]string{"a": "\x00\x1b\x7f\u009b\u202e\U000e0041\n\t", "b": `\ "`}
	out.Reset()
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", "  ")
	if err := encoder.Encode(value); err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(out.String()) {
		if !Is(strings.TrimSuffix(line, "\n")) {
			t.Errorf("JSON has the line %q", line)
		}
	}
	var back map[string]string
	if err := json.Unmarshal(out.Bytes(), &back); err != nil || back["a"] != value["a"] || back["b"] != value["b"] {
		t.Errorf("read back %q, %v, want %q", back, err, value)
	}
}
