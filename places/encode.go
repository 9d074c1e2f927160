package places

import (
	"bytes"
	"math"
	"strconv"
	"unicode/utf8"
)

// Append appends r to b as JSON in Google's layout: keys in alphabetical order, an indent of three spaces, a space on
// both sides of the colon, one array item a line, an empty array as []. There is no newline at the end.
//
// It is valid JSON whatever r holds: strings are escaped as encoding/json does it, invalid UTF-8 becoming \ufffd.
// Numbers are the shortest decimals that read back the same, never with an exponent; one that is not finite is null.
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
	for _, item := range r.Items {
		e.next()
		e.b = append(e.b, item...)
	}
	e.close(']')
	e.key("status")
	e.string(r.Status)
	e.close('}')
	return e.b
}

// Item is p as it stands among the results of a Response, for whoever gives it often.
func (p *Place) Item() []byte {
	e := encoder{depth: itemDepth}
	e.place(p)
	return bytes.Clone(e.b) // no larger than it is
}

const itemDepth = 2 // of a result: within the response and its list

// encoder writes JSON in Google's layout, one token after the other.
type encoder struct {
	b     []byte
	depth int
	some  bool // whether the object or array being written holds something yet
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
	e.some = false
}

func (e *encoder) close(bracket byte) {
	e.depth--
	if e.some {
		e.line()
	}
	e.b = append(e.b, bracket)
	e.some = true // what holds it is no longer empty
}

// next begins a member of an object or an item of an array.
func (e *encoder) next() {
	if e.some {
		e.b = append(e.b, ',')
	}
	e.line()
	e.some = true
}

func (e *encoder) line() {
	const spaces = "                              "
	e.b = append(e.b, '\n')
	e.b = append(e.b, spaces[:3*e.depth]...)
}

// key begins a member. Its name is one of ours and needs no escapes.
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
		e.b = append(e.b, '0') // and not -0
	default:
		e.b = strconv.AppendFloat(e.b, f, 'f', -1, 64)
	}
}

// string writes s with the escapes of encoding/json, which keep it safe inside HTML and JavaScript too.
func (e *encoder) string(s string) {
	e.b = append(e.b, '"')
	done := 0 // s[:done] is written
	for i := 0; i < len(s); {
		r, size := rune(s[i]), 1
		if r >= utf8.RuneSelf {
			r, size = utf8.DecodeRuneInString(s[i:])
		}
		if plain(r, size) {
			i += size
			continue
		}
		e.b = append(e.b, s[done:i]...)
		e.escape(r)
		i += size
		done = i
	}
	e.b = append(e.b, s[done:]...)
	e.b = append(e.b, '"')
}

// plain reports whether r, read from size bytes, stands for itself in a JSON string.
func plain(r rune, size int) bool {
	switch r {
	case '"', '\\', '<', '>', '&', '\u2028', '\u2029':
		return false
	case utf8.RuneError:
		return size > 1 // else it is not in the text but says that the text is broken
	}
	return r >= ' '
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
