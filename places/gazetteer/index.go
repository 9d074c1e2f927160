package gazetteer

import (
	"iter"
	"math"
	"strings"
	"sync/atomic"
)

// earthRadius is the mean radius of the earth in metres (IUGG's R1).
const earthRadius = 6371008.8

// The cells of the index, a quarter of a degree each way: row after row from the south pole, each from the antimeridian
// eastwards.
const (
	perDegree = 4
	cellRows  = 180 * perDegree
	cellCols  = 360 * perDegree
)

// index finds places by position. Nothing in it changes once it is built, but for what towns and items remember.
type index struct {
	text    string // the whole file
	classes []class
	rows    []row    // by cell; in the file's order within one
	points  []vector // of rows[i], apart so that a scan reads these alone
	cells   []uint32 // cell c is rows[cells[c]:cells[c+1]]
	// towns[i] is what town(i) found, kept from the first time on: 1 + the number of a row, or -1 for none.
	towns []atomic.Int32
	// items keeps what item(i) made, some 12 MB when it is full; rows whose numbers are alike take each other's slot.
	items [1 << 14]atomic.Pointer[item]
}

// vector is a point on the unit sphere.
type vector struct{ x, y, z float64 }

// unit returns the point at a latitude and longitude in degrees.
func unit(lat, lon float64) vector {
	sinLat, cosLat := math.Sincos(lat * math.Pi / 180)
	sinLon, cosLon := math.Sincos(lon * math.Pi / 180)
	return vector{cosLat * cosLon, cosLat * sinLon, sinLat}
}

// chord2 returns the square of the straight distance from v to w, which is good to the last digits however near they
// are; the angle's cosine would not be.
func (v *vector) chord2(w *vector) float64 {
	x, y, z := v.x-w.x, v.y-w.y, v.z-w.z
	return x*x + y*y + z*z
}

// maxChord2 is chord2 for points that are metres apart.
func maxChord2(metres float64) float64 {
	c := 2 * math.Sin(metres/(2*earthRadius))
	return c * c
}

// millimetres is the way around the sphere for a chord2 of less than 100 km: the first terms of the arc sine, exact to
// far less than a millimetre.
func millimetres(chord2 float64) int64 {
	return int64(earthRadius*1000*math.Sqrt(chord2)*(1+chord2/24) + 0.5)
}

// newIndex sorts rows into cells, by counting.
func newIndex(text string, rows []row, classes []class) *index {
	ix := &index{
		text:    text,
		classes: classes,
		rows:    make([]row, len(rows)),
		points:  make([]vector, len(rows)),
		towns:   make([]atomic.Int32, len(rows)),
	}
	// cells[c+2] counts cell c. Summed up, cells[c+1] is where cell c begins; and after it has moved on by one for
	// every row put there, it is where cell c ends, so cells[c] is where it begins.
	cells := make([]uint32, cellRows*cellCols+2)
	for i := range rows {
		cells[rows[i].cell()+2]++
	}
	for c := 1; c < len(cells); c++ {
		cells[c] += cells[c-1]
	}
	for _, r := range rows {
		next := &cells[r.cell()+1]
		ix.rows[*next] = r
		lat, lon := r.position()
		ix.points[*next] = unit(lat, lon)
		*next++
	}
	ix.cells = cells[:cellRows*cellCols+1]
	return ix
}

// position returns latitude and longitude in degrees.
func (r *row) position() (lat, lon float64) { return float64(r.lat) / degree, float64(r.lon) / degree }

func (r *row) cell() int {
	const width = degree / perDegree
	y := min(int(r.lat+90*degree)/width, cellRows-1) // the pole is in the last row
	x := int(r.lon+180*degree) / width
	return y*cellCols + x
}

// field returns a column of row i, counted from 0.
func (ix *index) field(i, column int) string {
	s := ix.text[ix.rows[i].line:]
	for range column {
		s = s[strings.IndexByte(s, '\t')+1:]
	}
	return s[:strings.IndexByte(s, '\t')]
}

func (ix *index) id(i int) string      { return ix.field(i, 0) }
func (ix *index) name(i int) string    { return ix.field(i, 1) }
func (ix *index) country(i int) string { return ix.field(i, 5) }

// within yields every row at most radius metres from a point, with its distance in millimetres, in the order of the
// index. The radius is 100 km at most.
func (ix *index) within(lat, lon, radius float64) iter.Seq2[int, int64] {
	return func(yield func(int, int64) bool) {
		centre, limit := unit(lat, lon), maxChord2(radius)
		box := cover(lat, lon, radius)
		for y := box.south; y <= box.north; y++ {
			for _, x := range box.cols {
				from, to := ix.cells[y*cellCols+x.from], ix.cells[y*cellCols+x.to]
				for i := from; i < to; i++ {
					if c := ix.points[i].chord2(&centre); c <= limit && !yield(int(i), millimetres(c)) {
						return
					}
				}
			}
		}
	}
}

// box is a block of cells: the rows south to north, and in each the columns of two ranges, since it may cross the
// antimeridian. Neighbouring cells of a row are contiguous in the index, so a range is one scan.
type box struct {
	south, north int
	cols         [2]struct{ from, to int } // to is not included
}

// cover returns the cells that a circle can touch.
func cover(lat, lon, radius float64) (b box) {
	const slack = 1e-9 // degrees, a tenth of a millimetre: more than rounding can do
	angle := radius / earthRadius
	high := angle*180/math.Pi + slack
	south, north := lat-high, lat+high
	b.south = max(int((south+90)*perDegree), 0)
	b.north = min(int((north+90)*perDegree), cellRows-1)

	// Near a pole take whole rows, which are nearly empty there. Elsewhere the circle touches the meridians that lie
	// wide degrees away; the formula loses its digits only where one of them is the pole.
	const polar = 90 - 1.0/perDegree
	wide := 180.0
	if -polar < south && north < polar {
		wide = math.Asin(math.Sin(angle)/math.Cos(lat*math.Pi/180))*180/math.Pi + slack
	}
	west, east := cellCol(lon-wide), cellCol(lon+wide)+1
	switch {
	case east-west >= cellCols:
		b.cols[0].to = cellCols
	case west < 0:
		b.cols[0].to = east
		b.cols[1].from, b.cols[1].to = west+cellCols, cellCols
	case east > cellCols:
		b.cols[0].to = east - cellCols
		b.cols[1].from, b.cols[1].to = west, cellCols
	default:
		b.cols[0].from, b.cols[0].to = west, east
	}
	return b
}

// cellCol returns the column of a longitude, less than 0 or more than the last one beyond the antimeridian.
func cellCol(lon float64) int { return int(math.Floor((lon + 180) * perDegree)) }
