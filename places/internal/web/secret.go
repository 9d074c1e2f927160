package web

import (
	"bytes"
	"encoding/json"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

const (
	minSecretLength = 8 // shorter secrets are not redacted: they could be part of any word
	redactedSecret  = "[key]"
)

// spellings returns the forms in which a text may contain a secret. JSON may also escape any character of each: see
// secretLength.
func spellings(secret string) (forms []string) {
	quoted, err := json.Marshal(secret)
	if err != nil {
		panic(err) // a string can always be encoded
	}
	for _, form := range []string{secret, url.QueryEscape(secret), url.PathEscape(secret), strings.Trim(string(quoted), `"`)} {
		if !slices.Contains(forms, form) {
			forms = append(forms, form)
		}
	}
	return forms
}

// redact replaces a secret in a text.
func redact(text []byte, secret string) []byte {
	var clean []byte
	done := 0 // text before it is in clean
	for i := 0; i < len(text); i++ {
		if text[i] != secret[0] && text[i] != '\\' {
			continue
		}
		if n := secretLength(text[i:], secret); n > 0 {
			clean = append(append(clean, text[done:i]...), redactedSecret...)
			done = i + n
			i = done - 1
		}
	}
	if done == 0 {
		return text
	}
	return append(clean, text[done:]...)
}

// secretLength is the length of the secret that text begins with, as it is or as it may stand in a JSON string: services
// differ in which characters they escape there. It is 0 if text begins with something else.
func secretLength(text []byte, secret string) (n int) {
	for len(secret) > 0 {
		r, size := utf8.DecodeRuneInString(secret)
		rest, literal := text[n:], secret[:size]
		secret = secret[size:]
		if escaped, length := jsonEscape(rest); length > 0 && escaped == r { // first: \\ is one character
			n += length
		} else if bytes.HasPrefix(rest, []byte(literal)) {
			n += size
		} else {
			return 0
		}
	}
	return n
}

// jsonEscape returns the character that text begins with the JSON escape of, and the length of that; 0 for none.
func jsonEscape(text []byte) (r rune, length int) {
	if len(text) < 2 || text[0] != '\\' {
		return 0, 0
	}
	if text[1] != 'u' {
		return rune(text[1]), 2 // a quotation mark, / or \; letters stand for control characters, which no secret has
	}
	if len(text) < 6 {
		return 0, 0
	}
	code, err := strconv.ParseUint(string(text[2:6]), 16, 16)
	if err != nil || !utf8.ValidRune(rune(code)) {
		return 0, 0
	}
	return rune(code), 6
}
