package wire

import (
	"bytes"
	"errors"
)

// maxLead is how many seconds after its receipt a client's time may be and still count in
// full. It is part of the format: if it were a setting, two servers could decide
// differently which record wins.
const maxLead = 60

// The bounds of a record, in bytes. They are part of the format: if one server accepted a
// longer record than another, their maps would differ. A command of 256 KiB, which is the
// longest that a server may be set to read, makes a record within them.
const (
	MaxRecord = 262_400 // of its line, without LF
	MaxClient = 262_144
	MaxServer = 64
)

// Header is a record's line whose first fields have been found: server, difference and
// client. The difference, the location and the time are not checked yet: see Parse.
type Header struct {
	Line []byte // the whole record, without LF

	difference, client, location uint32 // offsets in Line
}

// Server is the record's origin.
func (h Header) Server() []byte { return h.Line[len(recordPrefix) : h.difference-1] }

// Client is the client whose location the record tells.
func (h Header) Client() []byte { return h.Line[h.client : h.location-1] }

// ClientOffset is the offset of the client in Line.
func (h Header) ClientOffset() int { return int(h.client) }

// recordPrefix is the beginning of every record.
const recordPrefix = "AT "

// Record is one parsed AT line.
type Record struct {
	Header
	time uint32 // offset in Line

	Rank
}

// Location is the client's location, as the client wrote it.
func (r Record) Location() []byte { return r.Line[r.location : r.time-1] }

// TimeText is the client's time, as the client wrote it.
func (r Record) TimeText() []byte { return r.Line[r.time:] }

// WithinBounds reports whether a record that AppendRecord made is within the bounds of the
// format. Others are no records for any server.
func (r Record) WithinBounds() bool {
	return len(r.Line) <= MaxRecord && len(r.Server()) <= MaxServer && len(r.Client()) <= MaxClient
}

// Rank decides which of two records wins. If their ranks are equal, their lines decide.
type Rank struct {
	Effective Instant // Time, limited to maxLead seconds after Receipt
	Time      Instant // of the client
	Receipt   Instant // the origin's clock when it received the report
}

func newRank(t, receipt Instant) Rank {
	r := Rank{Effective: t, Time: t, Receipt: receipt}
	if limit := receipt.Add(Instant{Sec: maxLead}); t.Compare(limit) > 0 {
		r.Effective = limit
	}
	return r
}

// ErrNoRecord is the error for a line that is not a record of PROTOCOL.md.
var ErrNoRecord = errors.New("not a record")

// AppendRecord appends, without LF, the record of the IAMAT command c that server received
// at receipt. It also returns the record, parsed; its Line points into the result. Whether
// it is within the bounds is for the caller to check: see Record.WithinBounds.
func AppendRecord(dst []byte, server string, c Command, receipt Instant) ([]byte, Record) {
	start := len(dst)
	dst = append(dst, recordPrefix...)
	dst = append(dst, server...)
	dst = append(dst, ' ')
	r := Record{Rank: newRank(c.Time, receipt)}
	r.difference = uint32(len(dst) - start)
	dst = receipt.Sub(c.Time).appendSigned(dst)
	dst = append(dst, ' ')
	r.client = uint32(len(dst) - start)
	dst = append(dst, c.Client...)
	dst = append(dst, ' ')
	r.location = uint32(len(dst) - start)
	dst = append(dst, c.Location...)
	dst = append(dst, ' ')
	r.time = uint32(len(dst) - start)
	dst = append(dst, c.TimeText...)
	r.Line = dst[start:]
	return dst, r
}

// ParseRecord parses the line of a record, given without its LF. It accepts only the
// canonical form, byte for byte as AppendRecord writes it.
func ParseRecord(line []byte) (Record, error) {
	h, err := ParseHeader(line)
	if err != nil {
		return Record{}, err
	}
	return h.Parse()
}

// ParseHeader does the first half of ParseRecord. That is enough to look up the client.
func ParseHeader(line []byte) (h Header, err error) {
	if len(line) < len(recordPrefix) || len(line) > MaxRecord || string(line[:len(recordPrefix)]) != recordPrefix {
		return Header{}, ErrNoRecord
	}
	server := name(line[len(recordPrefix):])
	difference := len(recordPrefix) + server + 1
	if server == 0 || server > MaxServer || difference > len(line) || line[difference-1] != ' ' {
		return Header{}, ErrNoRecord
	}
	space := bytes.IndexByte(line[difference:], ' ')
	client := difference + space + 1
	length := field(line[client:])
	location := client + length + 1
	if space < 0 || length == 0 || length > MaxClient || location > len(line) || line[location-1] != ' ' {
		return Header{}, ErrNoRecord
	}
	return Header{line, uint32(difference), uint32(client), uint32(location)}, nil
}

// Parse does the second half of ParseRecord.
func (h Header) Parse() (Record, error) {
	difference, ok := parseDifference(h.Line[h.difference : h.client-1])
	rest := h.Line[h.location:]
	length := location(rest)
	if !ok || length == 0 || length == len(rest) || rest[length] != ' ' {
		return Record{}, ErrNoRecord
	}
	t, ok := parseTime(rest[length+1:])
	if !ok {
		return Record{}, ErrNoRecord
	}
	return Record{Header: h, time: h.location + uint32(length) + 1, Rank: newRank(t, t.Add(difference))}, nil
}

// Compare orders two records of one client: +1 if a wins, -1 if b wins, and 0 only if
// their lines are equal (PROTOCOL.md, "Which record wins").
func Compare(a, b Record) int {
	if c := a.Rank.Compare(b.Rank); c != 0 {
		return c
	}
	return bytes.Compare(a.Line, b.Line)
}

// Compare orders two ranks: +1 if a wins, -1 if b wins, and 0 if the lines must decide.
func (a Rank) Compare(b Rank) int {
	if c := a.Effective.Compare(b.Effective); c != 0 {
		return c
	}
	if c := a.Time.Compare(b.Time); c != 0 {
		return c
	}
	return b.Receipt.Compare(a.Receipt) // the earlier wins
}

// Position is the record's latitude and longitude in degrees, rounded to floats, for
// searches.
func (r Record) Position() (lat, lon float64) {
	lat, lon, _ = ParsePosition(r.Location())
	return lat, lon
}

// name is the length of the server's name at the start of b: ASCII letters, digits and
// `_`.
func name(b []byte) int {
	for i, c := range b {
		if (c < '0' || c > '9') && (c|0x20 < 'a' || c|0x20 > 'z') && c != '_' {
			return i
		}
	}
	return len(b)
}

// field is the length of the field at the start of b: it ends before white space.
func field(b []byte) int {
	for i, c := range b {
		if isSpace(c) {
			return i
		}
	}
	return len(b)
}
