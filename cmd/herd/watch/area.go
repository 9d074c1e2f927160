package watch

import (
	"errors"
	"fmt"
	"math"
	"net/url"
	"strconv"

	"herd/node/follow"
)

// area is the part of the world that a page looks at, in degrees. If west is greater than east, it
// crosses the 180th meridian.
type area follow.Box

var world = area{South: -90, West: -180, North: 90, East: 180}

// box is the box to follow; nil for the world, which needs none.
func (a area) box() *follow.Box {
	if a == world {
		return nil
	}
	b := follow.Box(a)
	return &b
}

// parseArea parses the area of a query: all four sides, or none for the world.
func parseArea(query url.Values) (area, error) {
	var a area
	missing := 0
	for _, side := range []struct {
		name string
		to   *float64
		most float64
	}{{"south", &a.South, 90}, {"west", &a.West, 180}, {"north", &a.North, 90}, {"east", &a.East, 180}} {
		text := query.Get(side.name)
		if text == "" {
			missing++
			continue
		}
		degrees, err := strconv.ParseFloat(text, 64)
		if err != nil || !(math.Abs(degrees) <= side.most) { // NaN is refused, too
			return a, fmt.Errorf("%s: %.40q is not a number of degrees from %v to %v", side.name, text, -side.most, side.most)
		}
		*side.to = degrees
	}
	switch {
	case missing == 4:
		return world, nil
	case missing > 0:
		return a, errors.New("south, west, north and east belong together: some are missing")
	case a.South > a.North:
		return a, fmt.Errorf("south %v is north of north %v", a.South, a.North)
	}
	return a, nil
}

// rounded is the area, extended to a grid whose steps depend on its size. So pages that show nearly
// the same share a stream, and a page that moves a little keeps its own.
func (a area) rounded() area {
	width := a.East - a.West
	if width < 0 {
		width += 360
	}
	step := gridStep(a.North - a.South)
	r := area{South: max(math.Floor(a.South/step)*step, -90), North: min(math.Ceil(a.North/step)*step, 90)}
	step = gridStep(width)
	r.West = math.Floor(a.West/step) * step
	r.East = math.Ceil((a.West+width)/step) * step
	switch {
	case r.East-r.West >= 360:
		r.West, r.East = -180, 180
	case r.West >= 180:
		r.West, r.East = r.West-360, r.East-360
	case r.East > 180:
		r.East -= 360
	}
	return r
}

// gridStep is the step of the grid for a span: an eighth to a quarter of it, and a whole fraction of 180
// degrees, so that the poles and the 180th meridian are on the grid.
func gridStep(span float64) float64 {
	const least = 180. / (1 << 20) // some metres
	step := 180.
	for step/2 >= max(span/8, least) {
		step /= 2
	}
	return step
}
