package gazetteer

import (
	"iter"
	"math"
	"strings"
	"sync/atomic"
)

// earthRadius is the mean radius of the earth in metres (IUGG's R1).
const earthRadius = 6371008.8

// Cells of the index are a quarter of a degree wide and high. They are numbered from the south pole northwards, and
// within a row from the antimeridian eastwards.
const (
	cellsPerDegree = 4
	cellRows       = 180 * cellsPerDegree
	cellCols       = 360 * cellsPerDegree
)

// index finds places by position. It is read-only after construction, except for the caches in towns and encoded.
type index struct {
	text    string // the whole file
	classes []class
	rows    []row    // sorted by cell; in file order within a cell
	points  []vector // positions of rows, in an array of their own for fast scans
	cells   []uint32 // cell c contains rows[cells[c]:cells[c+1]]
	// towns[i] caches the result of town(i): 0 if unknown, -1 if there is no town, otherwise 1 + the row of the town.
	towns []atomic.Int32
	// encoded caches the results of encodedPlace(i), about 12 MB when full. Rows with equal i modulo its length share a
	// slot.
	encoded [1 << 14]atomic.Pointer[encodedRow]
}

// vector is a point on the unit sphere.
type vector struct{ x, y, z float64 }

// unitVector returns the point at a latitude and longitude in degrees.
func unitVector(lat, lon float64) vector {
	sinLat, cosLat := math.Sincos(lat * math.Pi / 180)
	sinLon, cosLon := math.Sincos(lon * math.Pi / 180)
	return vector{cosLat * cosLon, cosLat * sinLon, sinLat}
}

// chordSquared returns the square of the straight-line distance between v and w. Unlike the cosine of the angle, it is
// precise for small distances.
func (v *vector) chordSquared(w *vector) float64 {
	x, y, z := v.x-w.x, v.y-w.y, v.z-w.z
	return x*x + y*y + z*z
}

// chordSquaredAt returns the squared chord of two points at a distance along the sphere.
func chordSquaredAt(metres float64) float64 {
	c := 2 * math.Sin(metres/(2*earthRadius))
	return c * c
}

// millimetres converts a squared chord of up to 100 km to the distance along the sphere. It uses the first terms of the
// arc sine; the error is far below a millimetre.
func millimetres(chordSquared float64) int64 {
	return int64(earthRadius*1000*math.Sqrt(chordSquared)*(1+chordSquared/24) + 0.5)
}

// newIndex sorts rows by cell, with a counting sort.
func newIndex(text string, rows []row, classes []class) *index {
	ix := &index{
		text:    text,
		classes: classes,
		rows:    make([]row, len(rows)),
		points:  make([]vector, len(rows)),
		towns:   make([]atomic.Int32, len(rows)),
	}
	// First, cells[c+2] counts the rows of cell c. The running sum makes cells[c+1] the start of cell c. Placing a row
	// increments its cells[c+1], which ends up as the end of cell c. So cells[c] is the end of the cell before, which is
	// the start of cell c.
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
		ix.points[*next] = unitVector(lat, lon)
		*next++
	}
	ix.cells = cells[:cellRows*cellCols+1]
	return ix
}

// position returns latitude and longitude in degrees.
func (r *row) position() (lat, lon float64) { return float64(r.lat) / degree, float64(r.lon) / degree }

func (r *row) cell() int {
	const width = degree / cellsPerDegree
	y := min(int(r.lat+90*degree)/width, cellRows-1) // the north pole belongs to the last row
	x := int(r.lon+180*degree) / width
	return y*cellCols + x
}

// field returns a column of row i. Columns are counted from 0.
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

// within yields each row at most radius metres from a point, with its distance in millimetres, in index order. The radius
// must not exceed 100 km.
func (ix *index) within(lat, lon, radius float64) iter.Seq2[int, int64] {
	return func(yield func(int, int64) bool) {
		centre, limit := unitVector(lat, lon), chordSquaredAt(radius)
		box := cover(lat, lon, radius)
		for y := box.south; y <= box.north; y++ {
			for _, x := range box.cols {
				from, to := ix.cells[y*cellCols+x.from], ix.cells[y*cellCols+x.to]
				for i := from; i < to; i++ {
					if c := ix.points[i].chordSquared(&centre); c <= limit && !yield(int(i), millimetres(c)) {
						return
					}
				}
			}
		}
	}
}

// box is a block of cells: the rows from south to north, and in each row up to two ranges of columns. A box that crosses
// the antimeridian needs two. The cells of a range are contiguous in the index, so each range is one scan.
type box struct {
	south, north int
	cols         [2]struct{ from, to int } // to is exclusive
}

// cover returns the cells that a circle may overlap.
func cover(lat, lon, radius float64) (b box) {
	const slack = 1e-9 // degrees; 0.1 mm, more than any rounding error
	angle := radius / earthRadius
	halfHeight := angle*180/math.Pi + slack
	south, north := lat-halfHeight, lat+halfHeight
	b.south = max(int((south+90)*cellsPerDegree), 0)
	b.north = min(int((north+90)*cellsPerDegree), cellRows-1)

	// Near a pole, take whole rows: they are almost empty. Elsewhere, the circle extends halfWidth degrees to each side.
	// The formula is imprecise only for circles that touch a pole.
	const polar = 90 - 1.0/cellsPerDegree
	halfWidth := 180.0
	if -polar < south && north < polar {
		halfWidth = math.Asin(math.Sin(angle)/math.Cos(lat*math.Pi/180))*180/math.Pi + slack
	}
	west, east := cellCol(lon-halfWidth), cellCol(lon+halfWidth)+1
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

// cellCol returns the column of a longitude. Beyond the antimeridian, it is negative or greater than the last column.
func cellCol(lon float64) int { return int(math.Floor((lon + 180) * cellsPerDegree)) }
