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

// Record is one parsed AT line. Its slices point into Line.
type Record struct {
	Line     []byte // the whole record, without LF
	Server   []byte // origin
	Client   []byte
	Location []byte
	ClientAt int // where in Line Client begins

	Rank
}

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
	dst = append(dst, "AT "...)
	dst = append(dst, server...)
	dst = append(dst, ' ')
	dst = receipt.Sub(c.Time).appendSigned(dst)
	dst = append(dst, ' ')
	client := len(dst)
	dst = append(dst, c.Client...)
	dst = append(dst, ' ')
	location := len(dst)
	dst = append(dst, c.Location...)
	dst = append(dst, ' ')
	dst = append(dst, c.TimeText...)
	return dst, Record{
		Line:     dst[start:],
		Server:   dst[start+3 : start+3+len(server)],
		Client:   dst[client : client+len(c.Client)],
		ClientAt: client - start,
		Location: dst[location : location+len(c.Location)],
		Rank:     newRank(c.Time, receipt),
	}
}

// ParseRecord reads one AT line, without its LF, as a neighbour sent it. A line
// that a herd server would not have written to the byte is an error.
func ParseRecord(line []byte) (Record, error) {
	var f [6][]byte
	rest := line
	for i := range 5 {
		space := bytes.IndexByte(rest, ' ')
		if space < 0 {
			return Record{}, ErrNoRecord
		}
		f[i], rest = rest[:space], rest[space+1:]
	}
	f[5] = rest
	difference, ok := parseDifference(f[2])
	if !ok || string(f[0]) != "AT" || !isName(f[1]) || !isField(f[3]) || splitLocation(f[4]) == 0 {
		return Record{}, ErrNoRecord
	}
	t, ok := parseTime(f[5])
	if !ok {
		return Record{}, ErrNoRecord
	}
	return Record{
		Line: line, Server: f[1], Client: f[3], Location: f[4],
		ClientAt: len("AT ") + len(f[1]) + 1 + len(f[2]) + 1,
		Rank:     newRank(t, t.Add(difference)),
	}, nil
}

// ClientOf is the client that a record's line is about. Of a line that is no record
// it may be anything, or not be at all.
func ClientOf(line []byte) (client []byte, ok bool) {
	for range 3 { // AT, server, difference
		space := bytes.IndexByte(line, ' ')
		if space < 0 {
			return nil, false
		}
		line = line[space+1:]
	}
	end := bytes.IndexByte(line, ' ')
	if end < 0 {
		return nil, false
	}
	return line[:end], true
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
	n := splitLocation(r.Location)
	lat, _ = strconv.ParseFloat(string(r.Location[:n]), 64)
	lon, _ = strconv.ParseFloat(string(r.Location[n:]), 64)
	return lat, lon
}

// isName tells whether b can be a server's name: ASCII letters, digits, `_`.
func isName(b []byte) bool {
	for _, c := range b {
		if (c < '0' || c > '9') && (c|0x20 < 'a' || c|0x20 > 'z') && c != '_' {
			return false
		}
	}
	return len(b) > 0
}

func isField(b []byte) bool {
	for _, c := range b {
		if isSpace(c) {
			return false
		}
	}
	return len(b) > 0
}
