package nearest

import (
	"herd/node/geo"
	"herd/node/store"
)

const (
	axisBits  = 24           // of a cell's latitude, and of its longitude
	curveBits = 2 * axisBits // of a cell's number
	lats      = 180.0 / (1 << axisBits)
	lons      = 360.0 / (1 << axisBits)
	nowhere   = 1<<curveBits - 1 // the cell of a client that is not in the index

	// cellSlack is how much less than the distance of a client that of the centre of its cell
	// may be: half of the diagonal at the equator, 1.34 m, and rounding.
	cellSlack = 0.0014 + geo.Slack
)

// cellOf is the number of the cell that has a point.
func cellOf(p geo.Point) uint64 {
	const most = 1<<axisBits - 1
	lat := uint64(min(max((p.Lat+90)/lats, 0), most))
	lon := uint64(min(max((p.Lon+180)/lons, 0), most))
	if z := spread(lat)<<1 | spread(lon); z != nowhere {
		return z
	}
	return nowhere - 1 // its neighbour at the pole, where cells have no width
}

// centreOf is the middle of a cell.
func centreOf(z uint64) geo.Point {
	return geo.Point{Lat: (float64(gather(z>>1))+.5)*lats - 90, Lon: (float64(gather(z))+.5)*lons - 180}
}

// boxOf is the rectangle of the cells whose first bits are those of z.
func boxOf(z uint64, bits int) geo.Box {
	south, west := float64(gather(z>>1))*lats-90, float64(gather(z))*lons-180
	high, wide := axisBits-(bits+1)/2, axisBits-bits/2 // bits that are left: the first bit is of the latitude
	return geo.Box{South: south, West: west, North: south + lats*float64(uint64(1)<<high), East: west + lons*float64(uint64(1)<<wide)}
}

// spread puts a zero before each of the lower 24 bits.
func spread(v uint64) uint64 {
	v = (v | v<<16) & 0x0000FFFF0000FFFF
	v = (v | v<<8) & 0x00FF00FF00FF00FF
	v = (v | v<<4) & 0x0F0F0F0F0F0F0F0F
	v = (v | v<<2) & 0x3333333333333333
	return (v | v<<1) & 0x5555555555555555
}

// gather is the inverse of spread: every second bit.
func gather(v uint64) uint64 {
	v &= 0x5555555555555555
	v = (v | v>>1) & 0x3333333333333333
	v = (v | v>>2) & 0x0F0F0F0F0F0F0F0F
	v = (v | v>>4) & 0x00FF00FF00FF00FF
	v = (v | v>>8) & 0x0000FFFF0000FFFF
	return (v | v>>16) & 0x00000000FFFFFFFF
}

// key orders the clients: by their cells, and within a cell by ID. So no place has too many
// clients to be divided.
type key struct {
	z  uint64
	id store.ID
}

func (k key) less(other key) bool { return k.z < other.z || k.z == other.z && k.id < other.id }
