package main

import (
	"encoding/base64"
	"encoding/json"
	"math"
	"strconv"
	"unicode/utf8"
)

// object appends a JSON object, with the bytes that encoding/json would write. With that package a dump takes more than
// twice as long, and it has millions of objects. What is rare is left to it.
type object struct {
	dst   []byte
	begun bool // it has a member
}

func beginObject(dst []byte) *object { return &object{dst: append(dst, '{')} }

// end ends the object, and returns what dst has become.
func (o *object) end() []byte { return append(o.dst, '}') }

// name appends the name of the next member. It needs no escapes.
func (o *object) name(name string) {
	if o.begun {
		o.dst = append(o.dst, ',')
	}
	o.begun = true
	o.dst = append(append(append(o.dst, '"'), name...), `":`...)
}

// literal appends a member whose value is JSON.
func (o *object) literal(name, value string) {
	o.name(name)
	o.dst = append(o.dst, value...)
}

// text appends a member that is UTF-8.
func (o *object) text(name string, value []byte) {
	o.name(name)
	o.dst = appendText(o.dst, value)
}

// textOrBase64 appends a member that is UTF-8, or else one of another name in base64.
func (o *object) textOrBase64(name, base64Name string, value []byte) {
	if utf8.Valid(value) {
		o.text(name, value)
		return
	}
	o.name(base64Name)
	o.dst = append(base64.StdEncoding.AppendEncode(append(o.dst, '"'), value), '"')
}

func (o *object) number(name string, value float64) {
	o.name(name)
	o.dst = appendNumber(o.dst, value)
}

// appendText appends a string.
func appendText(dst, value []byte) []byte {
	for _, c := range value {
		if c < ' ' || c > '~' || c == '"' || c == '\\' || c == '<' || c == '>' || c == '&' {
			encoded, err := json.Marshal(string(value))
			if err != nil {
				panic(err) // any string can be encoded
			}
			return append(dst, encoded...)
		}
	}
	return append(append(append(dst, '"'), value...), '"')
}

// appendNumber appends a finite number.
func appendNumber(dst []byte, value float64) []byte {
	if magnitude := math.Abs(value); magnitude < 1e-6 && magnitude != 0 || magnitude >= 1e21 {
		encoded, err := json.Marshal(value) // with an exponent
		if err != nil {
			panic(err) // it is finite
		}
		return append(dst, encoded...)
	}
	return strconv.AppendFloat(dst, value, 'f', -1, 64)
}
