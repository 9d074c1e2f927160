package main

import (
	"bytes"
	"image"
	"image/color"
	"image/png"
	"testing"
)

// TestReduce: a picture of few colours stays the same, and one of many gets a palette.
func TestReduce(t *testing.T) {
	t.Parallel()
	few, many := image.NewRGBA(image.Rect(0, 0, 40, 40)), image.NewRGBA(image.Rect(0, 0, 40, 40))
	for i := range 1600 {
		few.Set(i%40, i/40, color.RGBA{uint8(i % 7 * 30), 10, 20, 255})
		many.Set(i%40, i/40, color.RGBA{uint8(i), uint8(i / 7), 20, 255})
	}
	for name, img := range map[string]image.Image{"few": few, "many": many} {
		var in bytes.Buffer
		if err := png.Encode(&in, img); err != nil {
			t.Fatal(err)
		}
		out, err := reduce(in.Bytes())
		if err != nil {
			t.Fatal(err)
		}
		got, err := png.Decode(bytes.NewReader(out))
		if err != nil {
			t.Fatal(err)
		}
		paletted, ok := got.(*image.Paletted)
		if !ok || len(paletted.Palette) > 256 {
			t.Fatalf("%s: a picture of type %T", name, got)
		}
		for i := range 1600 {
			r, _, _, _ := got.At(i%40, i/40).RGBA()
			want, _, _, _ := img.At(i%40, i/40).RGBA()
			if name == "few" && r != want {
				t.Fatalf("%s: pixel %d changed from %d to %d", name, i, want, r)
			}
		}
	}
	if _, err := reduce([]byte("x")); err == nil {
		t.Error("reduce accepts what is no PNG")
	}
}
