package web

import "testing"

func TestRedact(t *testing.T) {
	t.Parallel()
	c := NewClient("herd/test", `canary+key/<é"\`, "short", "bytes\xff\xfe456")
	for text, want := range map[string]string{
		"":                               "",
		"nothing here":                   "nothing here",
		`canary+key/<é"\`:                "[key]",
		`a canary+key/<é"\ b`:            "a [key] b",
		`canary+key/<é"\canary`:          "[key]canary",
		`canary%2Bkey%2F%3C%C3%A9%22%5C`: "[key]",
		`{"m": "canary+key\/<é\"\\"}`:    `{"m": "[key]"}`,
		`{"m": "canary+key/\u003c\u00e9\u0022\u005c"}`:                      `{"m": "[key]"}`,
		`{"m": "\u0063\u0061nary+key/\u003C\u00E9\"\\, canary+key/<é\"\\"}`: `{"m": "[key], [key]"}`,
		`canary+key/<é`:        `canary+key/<é`,
		`canary+key/\u003`:     `canary+key/\u003`,
		`canary+key/\u00zz`:    `canary+key/\u00zz`,
		`canary+key/\`:         `canary+key/\`,
		"short":                "short",
		"see bytes\xff\xfe456": "see [key]",
	} {
		if got := string(c.redact([]byte(text))); got != want {
			t.Errorf("redact(%q) = %q, want %q", text, got, want)
		}
	}
}
