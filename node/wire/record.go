package wire

import (
	"bytes"
	"errors"
	"strconv"
)

// maxLead is how far, in seconds, a client's time may run ahead of its receipt
// and still count. It is part of the format and no setting: were it one, two
// servers could decide differently.
const maxLead = 60

// Header is the line of an AT record, cut where its fields begin, up to the location.
// What is behind that has not been looked at: see Parse.
type Header struct {
	Line []byte // the whole record, without LF

	difference, client, location uint32 // where in Line they begin
}

// Server is the record's origin.
func (c Header) Server() []byte { return c.Line[len(recordPrefix) : c.difference-1] }

// Client is whom the record is about.
func (c Header) Client() []byte { return c.Line[c.client : c.location-1] }

// ClientOffset is where in Line the client begins.
func (c Header) ClientOffset() int { return int(c.client) }

// recordPrefix is what every record begins with.
const recordPrefix = "AT "

// Record is one parsed AT line.
type Record struct {
	Header
	time uint32 // where in Line it begins

	Rank
}

// Location is where the client says that it is.
func (r Record) Location() []byte { return r.Line[r.location : r.time-1] }

// Rank is what of a record decides whether it wins, but for the line itself.
type Rank struct {
	Effective Instant // Time, but at most 60 s after Receipt
	Time      Instant // the client's
	Receipt   Instant // the origin's clock when it got the report
}

func newRank(t, receipt Instant) Rank {
	r := Rank{Effective: t, Time: t, Receipt: receipt}
	if limit := receipt.Add(Instant{Sec: maxLead}); t.Compare(limit) > 0 {
		r.Effective = limit
	}
	return r
}

// ErrNoRecord says that a line is not of PROTOCOL.md's record form.
var ErrNoRecord = errors.New("not a record")

// AppendRecord appends the record that server makes of the IAMAT command c when
// it got it at receipt, and returns that record too. No LF is appended. The
// record points into the result.
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

// ParseRecord reads one AT line, without its LF, as a neighbour sent it. A line
// that a herd server would not have written to the byte is an error.
func ParseRecord(line []byte) (Record, error) {
	c, err := ParseHeader(line)
	if err != nil {
		return Record{}, err
	}
	return c.Parse()
}

// ParseHeader does the first half of ParseRecord, which is enough to find what is
// known of the client.
func ParseHeader(line []byte) (c Header, err error) {
	if len(line) < len(recordPrefix) || string(line[:len(recordPrefix)]) != recordPrefix {
		return Header{}, ErrNoRecord
	}
	server := name(line[len(recordPrefix):])
	difference := len(recordPrefix) + server + 1
	if server == 0 || difference > len(line) || line[difference-1] != ' ' {
		return Header{}, ErrNoRecord
	}
	space := bytes.IndexByte(line[difference:], ' ')
	client := difference + space + 1
	length := field(line[client:])
	location := client + length + 1
	if space < 0 || length == 0 || location > len(line) || line[location-1] != ' ' {
		return Header{}, ErrNoRecord
	}
	return Header{line, uint32(difference), uint32(client), uint32(location)}, nil
}

// Parse does the second half of ParseRecord.
func (c Header) Parse() (Record, error) {
	difference, ok := parseDifference(c.Line[c.difference : c.client-1])
	rest := c.Line[c.location:]
	length := location(rest)
	if !ok || length == 0 || length == len(rest) || rest[length] != ' ' {
		return Record{}, ErrNoRecord
	}
	t, ok := parseTime(rest[length+1:])
	if !ok {
		return Record{}, ErrNoRecord
	}
	return Record{Header: c, time: c.location + uint32(length) + 1, Rank: newRank(t, t.Add(difference))}, nil
}

// Compare orders two records of one client: +1 when a beats b, -1 when b beats
// a, 0 only when their lines are equal (PROTOCOL.md, "Which record wins").
func Compare(a, b Record) int {
	if c := a.Rank.Compare(b.Rank); c != 0 {
		return c
	}
	return bytes.Compare(a.Line, b.Line)
}

// Compare is Compare for all that the two ranks can decide: 0 leaves it to the
// lines.
func (a Rank) Compare(b Rank) int {
	if c := a.Effective.Compare(b.Effective); c != 0 {
		return c
	}
	if c := a.Time.Compare(b.Time); c != 0 {
		return c
	}
	return b.Receipt.Compare(a.Receipt) // the earlier wins
}

// Position is the record's latitude and longitude in degrees: the nearest
// floats, for searching.
func (r Record) Position() (lat, lon float64) {
	location := r.Location()
	n := coordinate(location, maxLatitude)
	lat, _ = strconv.ParseFloat(string(location[:n]), 64)
	lon, _ = strconv.ParseFloat(string(location[n:]), 64)
	return lat, lon
}

// name is the length of what at the start of b can be a server's name: ASCII
// letters, digits, `_`.
func name(b []byte) int {
	for i, c := range b {
		if (c < '0' || c > '9') && (c|0x20 < 'a' || c|0x20 > 'z') && c != '_' {
			return i
		}
	}
	return len(b)
}

// field is the length of what at the start of b is not white space.
func field(b []byte) int {
	for i, c := range b {
		if isSpace(c) {
			return i
		}
	}
	return len(b)
}
