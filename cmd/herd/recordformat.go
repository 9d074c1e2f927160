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
	Tombstone    bool     `json:"tombstone,omitempty"` // the client is unknown
	Location     string   `json:"location,omitempty"`  // as the client wrote it
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
	if rec.IsTombstone() {
		r.Tombstone = true
	} else {
		lat, lon := rec.Position()
		r.Location, r.Lat, r.Lon = string(rec.Location()), &lat, &lon
	}
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

// appendChange appends a client's record, "" for none, as a line of a sequence, with its LF. event is how it has changed; "" is
// left out.
func (f recordFormat) appendChange(dst []byte, event, client, line string) ([]byte, error) {
	switch f {
	case textFormat:
		if event != "" {
			dst = append(append(dst, event...), ' ')
		}
		if line == "" {
			line = "- " + client
		}
		return append(append(dst, line...), '\n'), nil
	case geoJSONFormat:
		dst = append(dst, recordSeparator...)
	}
	dst, err := f.appendObject(dst, event, client, line)
	return append(dst, '\n'), err
}

// appendObject appends a client's record as a JSON object or a feature.
func (f recordFormat) appendObject(dst []byte, event, client, line string) ([]byte, error) {
	r, err := newRecordJSON(client, line)
	if err != nil {
		return dst, err
	}
	r.Event = event
	var encoded []byte
	if f == geoJSONFormat {
		encoded, err = json.Marshal(newFeature(r))
	} else {
		encoded, err = json.Marshal(r)
	}
	return append(dst, encoded...), err
}
