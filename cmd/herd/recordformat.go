package main

import (
	"encoding/base64"
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

// recordSeparator begins each feature of a GeoJSON text sequence (RFC 8142).
const recordSeparator = "\x1e"

// appendChange appends a client's record, "" for none, as a line of a sequence, with its LF. event is how it has changed; "" is
// left out.
func (f recordFormat) appendChange(dst []byte, event, client, line string) ([]byte, error) {
	if f == textFormat {
		if event != "" {
			dst = append(append(dst, event...), ' ')
		}
		if line == "" {
			line = "- " + client
		}
		return append(append(dst, line...), '\n'), nil
	}
	r := printedRecord{event: event, client: []byte(client)}
	if line != "" {
		record, err := wire.ParseRecord([]byte(line))
		if err != nil {
			return dst, fmt.Errorf("%w: %.200q", err, line)
		}
		r.record = &record
	}
	if f == geoJSONFormat {
		dst = append(dst, recordSeparator...)
	}
	return append(f.appendObject(dst, r), '\n'), nil
}

// appendObject appends a record as a JSON object or a feature.
func (f recordFormat) appendObject(dst []byte, r printedRecord) []byte {
	if f == geoJSONFormat {
		return r.appendFeature(dst)
	}
	return r.appendJSON(dst)
}

// printedRecord is a client's record for programs.
type printedRecord struct {
	event  string   // how it has changed; "" is left out
	km     *float64 // its distance; nil is left out
	client []byte
	record *wire.Record // nil for a client without one
}

// MarshalJSON is appendJSON.
func (r printedRecord) MarshalJSON() ([]byte, error) { return r.appendJSON(nil), nil }

// appendJSON appends the record as an object:
//
//	event, km                as above
//	client                   the name, or client_base64 if it is not UTF-8
//	tombstone                true for a tombstone: it has no location, lat and lon
//	location, lat, lon       as the client wrote it, and in degrees
//	time, server             POSIX seconds, as the client wrote them; the server that it reported to
//	record                   the line, or record_base64 if it is not UTF-8
func (r printedRecord) appendJSON(dst []byte) []byte {
	o := beginObject(dst)
	if r.event != "" {
		o.text("event", []byte(r.event))
	}
	if r.km != nil {
		o.number("km", *r.km)
	}
	o.textOrBase64("client", "client_base64", r.client)
	if r.record != nil {
		if r.record.IsTombstone() {
			o.literal("tombstone", "true")
		} else {
			lat, lon := r.record.Position()
			o.text("location", r.record.Location())
			o.number("lat", lat)
			o.number("lon", lon)
		}
		o.text("time", r.record.TimeText())
		o.text("server", r.record.Server())
		o.textOrBase64("record", "record_base64", r.record.Line)
	}
	return o.end()
}

// appendFeature appends the record as a GeoJSON feature (RFC 7946). Without a location its geometry is null.
func (r printedRecord) appendFeature(dst []byte) []byte {
	dst = append(dst, `{"type":"Feature","geometry":`...)
	if r.record == nil || r.record.IsTombstone() {
		dst = append(dst, "null"...)
	} else {
		lat, lon := r.record.Position()
		dst = append(dst, `{"type":"Point","coordinates":[`...)
		dst = append(appendNumber(dst, lon), ',')
		dst = append(appendNumber(dst, lat), "]}"...)
	}
	return append(r.appendJSON(append(dst, `,"properties":`...)), '}')
}

// feature is a record whose JSON is that of appendFeature.
type feature printedRecord

func (f feature) MarshalJSON() ([]byte, error) { return printedRecord(f).appendFeature(nil), nil }

// textOrBase64 is s as it is, or encoded if it is not UTF-8.
func textOrBase64(s string) (plain, encoded string) {
	if utf8.ValidString(s) {
		return s, ""
	}
	return "", base64.StdEncoding.EncodeToString([]byte(s))
}
