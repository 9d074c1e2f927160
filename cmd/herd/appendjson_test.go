package main

import (
	"encoding/json"
	"math"
	"testing"

	"pgregory.net/rapid"
)

// TestObject: an object has the bytes that encoding/json writes for the same members.
func TestObject(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		type members struct {
			Text   string  `json:"text"`
			Plain  string  `json:"plain,omitempty"`
			Base64 []byte  `json:"base64,omitempty"`
			Number float64 `json:"number"`
			Yes    bool    `json:"yes"`
		}
		want := members{
			Text:   rapid.OneOf(rapid.String(), rapid.StringMatching(`[ -~]*`)).Draw(t, "text"),
			Number: rapid.OneOf(rapid.Float64Range(-180, 180), rapid.Float64Range(-1e-5, 1e-5), rapid.Float64Range(-math.MaxFloat64, math.MaxFloat64)).Draw(t, "number"),
			Yes:    true,
		}
		o := beginObject([]byte("before "))
		o.text("text", []byte(want.Text))
		if rapid.Bool().Draw(t, "is text") {
			want.Plain = "x" + rapid.String().Draw(t, "plain")
			o.textOrBase64("plain", "base64", []byte(want.Plain))
		} else {
			want.Base64 = append([]byte{0xff}, rapid.SliceOf(rapid.Byte()).Draw(t, "base64")...)
			o.textOrBase64("plain", "base64", want.Base64)
		}
		o.number("number", want.Number)
		o.literal("yes", "true")
		encoded, err := json.Marshal(want)
		if err != nil {
			t.Fatal(err)
		}
		if got := string(o.end()); got != "before "+string(encoded) {
			t.Errorf("got  %s\nwant before %s", got, encoded)
		}
	})
}
