package main

import (
	"bytes"
	"strings"
	"testing"
)

func TestPack(t *testing.T) {
	t.Parallel()
	got, err := pack(strings.NewReader(`[[[-0.02,0],[0,0],[0.001,0.001],[0,2],[-0.02,0]],[[5,5],[5,5],[5,5],[5,5]]]`))
	if err != nil {
		t.Fatal(err)
	}
	// Four points: -1,0; +1,0; 0,+100; -1,-100. The second ring is a single point.
	if want := []byte{4, 1, 0, 2, 0, 0, 0xc8, 1, 1, 0xc7, 1}; !bytes.Equal(got, want) {
		t.Errorf("pack = % x, want % x", got, want)
	}
	if got := unwrap([][2]float64{{179, 1}, {-179, 1}, {-179, 2}, {179, 2}}); got[1] != [2]float64{181, 1} || got[3] != [2]float64{179, 2} {
		t.Errorf("across the 180th meridian: %v", got)
	}
	if got := unwrap([][2]float64{{179, -84}, {-180, -84}}); len(got) != 4 || got[1] != [2]float64{180, -90} || got[2] != [2]float64{-180, -90} {
		t.Errorf("around the pole: %v", got)
	}
	if _, err := pack(strings.NewReader(`{}`)); err == nil {
		t.Error("pack accepts an object")
	}
}
