// Command landoutline packs outlines of land for the page's map:
//
//	go run ./cmd/internal/landoutline < land.json > cmd/herd/watch/page/land.bin
//
// Its input is a JSON array of rings, each an array of [longitude, latitude] in degrees. Its
// output is a sequence of rings: the number of points as a varint, and then each point as two
// zigzag varints, longitude and latitude, as the difference from the point before, over the
// borders of rings. The first point is the difference from 0, 0. The unit is 1/50 degree.
//
// A ring that crosses the 180th meridian goes on beyond it: longitudes are then outside of -180
// to 180. A ring around the South Pole goes along the edge of the map, to the pole and back.
package main

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"os"
)

// unitsPerDegree is the resolution: 1/50 degree is 2 km at most.
const unitsPerDegree = 50

func main() {
	packed, err := pack(os.Stdin)
	if err == nil {
		_, err = os.Stdout.Write(packed)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "landoutline:", err)
		os.Exit(1)
	}
}

// pack reads rings and returns them packed. Points that are equal after rounding are kept
// once, and rings of fewer than four points are left out.
func pack(r io.Reader) ([]byte, error) {
	var rings [][][2]float64
	if err := json.NewDecoder(r).Decode(&rings); err != nil {
		return nil, fmt.Errorf("read rings: %w", err)
	}
	var out []byte
	var last [2]int64
	for _, ring := range rings {
		points := make([][2]int64, 0, len(ring))
		for _, p := range unwrap(ring) {
			q := [2]int64{int64(math.Round(p[0] * unitsPerDegree)), int64(math.Round(p[1] * unitsPerDegree))}
			if len(points) == 0 || q != points[len(points)-1] {
				points = append(points, q)
			}
		}
		if len(points) < 4 {
			continue
		}
		out = binary.AppendUvarint(out, uint64(len(points)))
		for _, p := range points {
			out = binary.AppendVarint(out, p[0]-last[0])
			out = binary.AppendVarint(out, p[1]-last[1])
			last = p
		}
	}
	return out, nil
}

// polar is the latitude below which a ring that crosses the 180th meridian goes around the pole.
const polar = -80

// unwrap returns a ring without jumps from one side of the map to the other.
func unwrap(ring [][2]float64) [][2]float64 {
	out := make([][2]float64, 0, len(ring)+2)
	turn := 0.0
	for i, p := range ring {
		if i > 0 {
			switch jump := p[0] - ring[i-1][0]; {
			case math.Abs(jump) <= 180:
			case p[1] < polar:
				out = append(out, [2]float64{math.Copysign(180, -jump), -90}, [2]float64{math.Copysign(180, jump), -90})
			default:
				turn -= math.Copysign(360, jump)
			}
		}
		out = append(out, [2]float64{p[0] + turn, p[1]})
	}
	return out
}
