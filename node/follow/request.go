package follow

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"slices"
	"time"
	"unicode/utf8"

	"herd/node/wire"
)

// Request says what to follow. A client must match all that is set; the zero Request is everything.
type Request struct {
	Clients []string `json:"clients,omitempty"` // their names
	Prefix  string   `json:"prefix,omitempty"`  // of the name
	// ClientsBase64 are further names, and PrefixBase64 stands in place of Prefix, for what is not UTF-8.
	ClientsBase64 [][]byte `json:"clients_base64,omitempty"`
	PrefixBase64  []byte   `json:"prefix_base64,omitempty"`
	Near          *Near    `json:"near,omitempty"`
	Box           *Box     `json:"box,omitempty"`
	// Interval is the time between changes, such as "100ms": a client's records in between are left
	// out. "" is DefaultInterval.
	Interval string `json:"interval,omitempty"`
}

// Near is the area within km kilometres of a point.
type Near struct {
	Lat float64 `json:"lat"` // degrees
	Lon float64 `json:"lon"` // degrees
	Km  float64 `json:"km"`
}

// Box is the area between two parallels and two meridians, in degrees. If West is greater than East it
// crosses the 180th meridian.
type Box struct {
	South float64 `json:"south"`
	West  float64 `json:"west"`
	North float64 `json:"north"`
	East  float64 `json:"east"`
}

// UnmarshalJSON requires all fields.
func (n *Near) UnmarshalJSON(data []byte) error {
	return numbers(data, map[string]*float64{"lat": &n.Lat, "lon": &n.Lon, "km": &n.Km})
}

// UnmarshalJSON requires all fields.
func (b *Box) UnmarshalJSON(data []byte) error {
	return numbers(data, map[string]*float64{"south": &b.South, "west": &b.West, "north": &b.North, "east": &b.East})
}

// numbers parses an object that has a number for each of fields, and nothing else.
func numbers(data []byte, fields map[string]*float64) error {
	var values map[string]*float64
	if err := json.Unmarshal(data, &values); err != nil {
		return err
	}
	for name := range values {
		if fields[name] == nil {
			return fmt.Errorf("unknown field %.40q", name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		if values[name] == nil {
			return fmt.Errorf("field %q is missing", name)
		}
		*fields[name] = *values[name]
	}
	return nil
}

// Limits of a request.
const (
	MaxClients      = 10_000 // names
	MinInterval     = 10 * time.Millisecond
	DefaultInterval = 100 * time.Millisecond
	MaxInterval     = time.Minute
)

// Parse parses a request in JSON. An empty one is the zero Request. An error says which field is wrong.
func Parse(data []byte) (r Request, err error) {
	if len(bytes.TrimSpace(data)) == 0 {
		return r, nil
	}
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(&r); err != nil {
		return Request{}, fmt.Errorf("the request is not the JSON of a stream's request: %w", err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return Request{}, errors.New("the request has more than one JSON value")
	}
	if len(r.PrefixBase64) == 0 {
		r.PrefixBase64 = nil
	}
	return r, r.Check()
}

// Check returns an error for the first field that is wrong; nil if none is.
func (r Request) Check() error {
	if r.namesClients() && len(r.names()) == 0 {
		return errors.New("clients: the list is empty; leave it out to follow all clients")
	}
	if _, err := r.interval(); err != nil {
		return err
	}
	if err := r.checkNames(); err != nil {
		return err
	}
	return r.checkArea()
}

func (r Request) interval() (time.Duration, error) {
	if r.Interval == "" {
		return DefaultInterval, nil
	}
	d, err := time.ParseDuration(r.Interval)
	if err != nil || d < MinInterval || d > MaxInterval {
		return 0, fmt.Errorf("interval: %.40q is not a duration from %v to %v, such as 100ms", r.Interval, MinInterval, MaxInterval)
	}
	return d, nil
}

// Name adds a client, of any encoding.
func (r *Request) Name(client string) {
	if utf8.ValidString(client) {
		r.Clients = append(r.Clients, client)
	} else {
		r.ClientsBase64 = append(r.ClientsBase64, []byte(client))
	}
}

// SetPrefix sets the prefix, of any encoding.
func (r *Request) SetPrefix(prefix string) {
	r.Prefix, r.PrefixBase64 = prefix, nil
	if !utf8.ValidString(prefix) {
		r.Prefix, r.PrefixBase64 = "", []byte(prefix)
	}
}

func (r Request) namesClients() bool { return r.Clients != nil || r.ClientsBase64 != nil }

// names are the clients' names, of both kinds.
func (r Request) names() []string {
	names := slices.Clone(r.Clients)
	for _, name := range r.ClientsBase64 {
		names = append(names, string(name))
	}
	return names
}

// prefix is the prefix, of either kind.
func (r Request) prefix() string { return r.Prefix + string(r.PrefixBase64) }

func (r Request) checkNames() error {
	names := r.names()
	if len(names) > MaxClients {
		return fmt.Errorf("clients: %d names are more than %d", len(names), MaxClients)
	}
	for _, name := range names {
		if !wire.IsClient(name) {
			return fmt.Errorf("clients: %.80q is not a client's name", name)
		}
	}
	if r.Prefix != "" && len(r.PrefixBase64) > 0 {
		return errors.New("prefix and prefix_base64 exclude each other")
	}
	if prefix := r.prefix(); prefix != "" && !wire.IsClient(prefix) {
		return fmt.Errorf("prefix: %.80q is not the beginning of a client's name", prefix)
	}
	return nil
}

// checkArea negates its comparisons, so that NaN is out of range.
func (r Request) checkArea() error {
	latitude := func(deg float64) bool { return deg >= -90 && deg <= 90 }
	longitude := func(deg float64) bool { return deg >= -180 && deg <= 180 }
	if n := r.Near; n != nil {
		switch {
		case !latitude(n.Lat):
			return fmt.Errorf("near: latitude %v is not between -90 and 90", n.Lat)
		case !longitude(n.Lon):
			return fmt.Errorf("near: longitude %v is not between -180 and 180", n.Lon)
		case !(n.Km >= 0) || math.IsInf(n.Km, 1):
			return fmt.Errorf("near: %v km is not a radius", n.Km)
		}
	}
	if b := r.Box; b != nil {
		switch {
		case !latitude(b.South) || !latitude(b.North):
			return fmt.Errorf("box: latitudes %v and %v are not between -90 and 90", b.South, b.North)
		case !longitude(b.West) || !longitude(b.East):
			return fmt.Errorf("box: longitudes %v and %v are not between -180 and 180", b.West, b.East)
		case b.South > b.North:
			return fmt.Errorf("box: south %v is north of north %v", b.South, b.North)
		}
	}
	return nil
}
