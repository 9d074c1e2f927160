package places

import (
	"bytes"
	"math"
	"strconv"
	"unicode/utf8"
)

// Append appends r to b as JSON in Google's layout. Keys are in alphabetical order. The indent is three spaces, and
// colons have a space on both sides. Each array item is on a line of its own, and an empty array is []. There is no
// newline at the end.
//
// The JSON is always valid. Strings are escaped as by encoding/json, and invalid UTF-8 becomes \ufffd. Numbers are the
// shortest decimals that parse to the same value, without an exponent. NaN and infinities become null.
func (r Response) Append(b []byte) []byte {
	e := encoder{b: b}
	e.open('{')
	e.optional("error_message", r.ErrorMessage)
	e.key("html_attributions")
	e.strings(r.HTMLAttributions)
	e.key("results")
	e.open('[')
	for i := range r.Results {
		e.next()
		e.place(&r.Results[i])
	}
	for _, result := range r.EncodedResults {
		e.next()
		e.b = append(e.b, result...)
	}
	e.close(']')
	e.key("status")
	e.string(r.Status)
	e.close('}')
	return e.b
}

// EncodeResult encodes p for Response.EncodedResults. A source can keep the bytes and use them in several responses.
func (p *Place) EncodeResult() []byte {
	e := encoder{depth: resultDepth}
	e.place(p)
	return bytes.Clone(e.b) // without spare capacity
}

const resultDepth = 2 // nesting depth of a result: the response object and its results array

// encoder writes JSON in Google's layout, token by token.
type encoder struct {
	b        []byte
	depth    int
	nonEmpty bool // the object or array being written has a member or item
}

func (e *encoder) place(p *Place) {
	e.open('{')
	e.optional("business_status", p.BusinessStatus)
	e.key("geometry")
	e.open('{')
	e.key("location")
	e.latLng(p.Geometry.Location)
	if v := p.Geometry.Viewport; v != (Viewport{}) {
		e.key("viewport")
		e.open('{')
		e.key("northeast")
		e.latLng(v.Northeast)
		e.key("southwest")
		e.latLng(v.Southwest)
		e.close('}')
	}
	e.close('}')
	e.optional("icon", p.Icon)
	e.optional("icon_background_color", p.IconBackgroundColor)
	e.optional("icon_mask_base_uri", p.IconMaskBaseURI)
	e.key("name")
	e.string(p.Name)
	if p.OpeningHours != nil {
		e.key("opening_hours")
		e.open('{')
		e.key("open_now")
		e.b = strconv.AppendBool(e.b, p.OpeningHours.OpenNow)
		e.close('}')
	}
	e.key("place_id")
	e.string(p.PlaceID)
	if p.PlusCode != (PlusCode{}) {
		e.key("plus_code")
		e.open('{')
		e.optional("compound_code", p.PlusCode.CompoundCode)
		e.optional("global_code", p.PlusCode.GlobalCode)
		e.close('}')
	}
	if p.PriceLevel != nil {
		e.key("price_level")
		e.number(float64(*p.PriceLevel))
	}
	if p.Rating != 0 {
		e.key("rating")
		e.number(p.Rating)
	}
	e.optional("reference", p.Reference)
	if len(p.Types) > 0 {
		e.key("types")
		e.strings(p.Types)
	}
	if p.UserRatingsTotal != 0 {
		e.key("user_ratings_total")
		e.number(float64(p.UserRatingsTotal))
	}
	e.optional("vicinity", p.Vicinity)
	e.close('}')
}

func (e *encoder) latLng(p LatLng) {
	e.open('{')
	e.key("lat")
	e.number(p.Lat)
	e.key("lng")
	e.number(p.Lng)
	e.close('}')
}

func (e *encoder) strings(list []string) {
	e.open('[')
	for _, s := range list {
		e.next()
		e.string(s)
	}
	e.close(']')
}

func (e *encoder) optional(key, value string) {
	if value != "" {
		e.key(key)
		e.string(value)
	}
}

func (e *encoder) open(bracket byte) {
	e.b = append(e.b, bracket)
	e.depth++
	e.nonEmpty = false
}

func (e *encoder) close(bracket byte) {
	e.depth--
	if e.nonEmpty {
		e.newline()
	}
	e.b = append(e.b, bracket)
	e.nonEmpty = true // the enclosing object or array
}

// next begins an object member or an array item.
func (e *encoder) next() {
	if e.nonEmpty {
		e.b = append(e.b, ',')
	}
	e.newline()
	e.nonEmpty = true
}

func (e *encoder) newline() {
	const spaces = "                              "
	e.b = append(e.b, '\n')
	e.b = append(e.b, spaces[:3*e.depth]...)
}

// key begins an object member. Names are constants that need no escaping.
func (e *encoder) key(name string) {
	e.next()
	e.b = append(e.b, '"')
	e.b = append(e.b, name...)
	e.b = append(e.b, `" : `...)
}

func (e *encoder) number(f float64) {
	switch {
	case math.IsNaN(f) || math.IsInf(f, 0):
		e.b = append(e.b, "null"...)
	case f == 0:
		e.b = append(e.b, '0') // also for -0
	default:
		e.b = strconv.AppendFloat(e.b, f, 'f', -1, 64)
	}
}

// string writes s with the escapes of encoding/json. The result is also safe inside HTML and JavaScript.
func (e *encoder) string(s string) {
	e.b = append(e.b, '"')
	written := 0 // bytes of s
	for i := 0; i < len(s); {
		r, size := rune(s[i]), 1
		if r >= utf8.RuneSelf {
			r, size = utf8.DecodeRuneInString(s[i:])
		}
		if !mustEscape(r, size) {
			i += size
			continue
		}
		e.b = append(e.b, s[written:i]...)
		e.escape(r)
		i += size
		written = i
	}
	e.b = append(e.b, s[written:]...)
	e.b = append(e.b, '"')
}

// mustEscape reports whether r must be escaped in a JSON string. size is the number of bytes that r was decoded from.
func mustEscape(r rune, size int) bool {
	switch r {
	case '"', '\\', '<', '>', '&', '\u2028', '\u2029':
		return true
	case utf8.RuneError:
		return size == 1 // the decoder's mark for invalid UTF-8; a real U+FFFD has three bytes
	}
	return r < ' '
}

func (e *encoder) escape(r rune) {
	const hex = "0123456789abcdef"
	e.b = append(e.b, '\\')
	switch r {
	case '"', '\\':
		e.b = append(e.b, byte(r))
	case '\b':
		e.b = append(e.b, 'b')
	case '\f':
		e.b = append(e.b, 'f')
	case '\n':
		e.b = append(e.b, 'n')
	case '\r':
		e.b = append(e.b, 'r')
	case '\t':
		e.b = append(e.b, 't')
	default:
		e.b = append(e.b, 'u', hex[r>>12&15], hex[r>>8&15], hex[r>>4&15], hex[r&15])
	}
}
