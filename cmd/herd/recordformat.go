package main

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"unicode/utf8"

	"herd/node/wire"
)

// recordFormat is how a command prints records.
type recordFormat string

const (
	textFormat    recordFormat = "text"    // their lines
	jsonFormat    recordFormat = "json"    // an object per line
	geoJSONFormat recordFormat = "geojson" // features
)

// recordJSON is a record for programs. What is not UTF-8 is in a field of its own, as base64.
type recordJSON struct {
	Event        string   `json:"event,omitempty"`
	Km           *float64 `json:"km,omitempty"`
	Client       string   `json:"client,omitempty"`
	ClientBase64 string   `json:"client_base64,omitempty"`
	Location     string   `json:"location,omitempty"` // as the client wrote it
	Lat          *float64 `json:"lat,omitempty"`
	Lon          *float64 `json:"lon,omitempty"`
	Time         string   `json:"time,omitempty"` // as the client wrote it: POSIX seconds
	Server       string   `json:"server,omitempty"`
	Record       string   `json:"record,omitempty"`
	RecordBase64 string   `json:"record_base64,omitempty"`
}

// textOrBase64 is s as it is, or encoded if it is not UTF-8.
func textOrBase64(s string) (plain, encoded string) {
	if utf8.ValidString(s) {
		return s, ""
	}
	return "", base64.StdEncoding.EncodeToString([]byte(s))
}

// newRecordJSON describes a client's record; "" for a client without one.
func newRecordJSON(client, line string) (r recordJSON, err error) {
	r.Client, r.ClientBase64 = textOrBase64(client)
	if line == "" {
		return r, nil
	}
	rec, err := wire.ParseRecord([]byte(line))
	if err != nil {
		return r, fmt.Errorf("%w: %.200q", err, line)
	}
	lat, lon := rec.Position()
	r.Location, r.Lat, r.Lon = string(rec.Location()), &lat, &lon
	r.Time, r.Server = string(rec.TimeText()), string(rec.Server())
	r.Record, r.RecordBase64 = textOrBase64(line)
	return r, nil
}

// feature is a GeoJSON feature (RFC 7946).
type feature struct {
	Type       string     `json:"type"`
	Geometry   *geometry  `json:"geometry"` // null for a client without a position
	Properties recordJSON `json:"properties"`
}

type geometry struct {
	Type        string     `json:"type"`
	Coordinates [2]float64 `json:"coordinates"` // longitude first
}

func newFeature(r recordJSON) feature {
	f := feature{Type: "Feature", Properties: r}
	if r.Lat != nil {
		f.Geometry = &geometry{"Point", [2]float64{*r.Lon, *r.Lat}}
	}
	return f
}

// recordSeparator begins each feature of a GeoJSON text sequence (RFC 8142).
const recordSeparator = "\x1e"

// appendRecord appends a record in a format, with its LF. before is what a text line begins with.
func (f recordFormat) appendRecord(dst []byte, before, client, line string, with func(*recordJSON)) ([]byte, error) {
	if f == textFormat {
		if line == "" {
			line = "- " + client
		}
		return append(append(append(dst, before...), line...), '\n'), nil
	}
	r, err := newRecordJSON(client, line)
	if err != nil {
		return dst, err
	}
	with(&r)
	value := any(r)
	if f == geoJSONFormat {
		dst = append(dst, recordSeparator...)
		value = newFeature(r)
	}
	encoded, err := json.Marshal(value)
	return append(append(dst, encoded...), '\n'), err
}
