package follow

import (
	"strings"
	"time"

	"herd/node/geo"
)

// Filter decides which clients a stream has. Filters are immutable.
type Filter struct {
	clients  map[string]bool // nil for all
	prefix   string
	near     *geo.Origin // nil for none
	km       float64     // around near
	box      *geo.Box    // nil for none
	interval time.Duration
}

// NewFilter makes the filter of a request that Parse has returned.
func NewFilter(r Request) *Filter {
	f := &Filter{prefix: r.prefix()}
	f.interval, _ = r.interval() // Parse has checked it
	if r.namesClients() {
		f.clients = map[string]bool{}
		for _, name := range r.names() {
			f.clients[name] = true
		}
	}
	if n := r.Near; n != nil {
		origin := geo.From(geo.Point{Lat: n.Lat, Lon: n.Lon})
		f.near, f.km = &origin, n.Km
	}
	if b := r.Box; b != nil {
		f.box = &geo.Box{South: b.South, West: b.West, North: b.North, East: b.East}
	}
	return f
}

// Interval is the time between changes.
func (f *Filter) Interval() time.Duration { return f.interval }

// Listed is the names of the clients, if the request lists them.
func (f *Filter) Listed() (names map[string]bool, ok bool) { return f.clients, f.clients != nil }

// ByName reports whether Named is false for some clients.
func (f *Filter) ByName() bool { return f.clients != nil || f.prefix != "" }

// Named reports whether a client's name matches.
func (f *Filter) Named(client []byte) bool {
	return (f.clients == nil || f.clients[string(client)]) && strings.HasPrefix(string(client), f.prefix)
}

// ByArea reports whether Inside is false for some positions.
func (f *Filter) ByArea() bool { return f.near != nil || f.box != nil }

// Inside reports whether a position, in degrees, is in the area.
func (f *Filter) Inside(lat, lon float64) bool {
	at := geo.Point{Lat: lat, Lon: lon}
	if f.near != nil && f.near.Distance(at) > f.km {
		return false
	}
	return f.box == nil || f.box.Contains(at)
}
