package wire

import (
	"bytes"
	"cmp"
	"math/big"
	"regexp"
	"strings"
	"testing"
)

// A second, slow implementation of the grammar, written from PROTOCOL.md alone: regular
// expressions for the form, rationals for the numbers. It shares no code with the parser.

const (
	referenceSpace      = `[ \t\r\f\v]`
	referenceField      = `([^ \t\r\f\v\n]+)`
	referenceNumber     = `([0-9]+(?:\.[0-9]+)?)`
	referenceCoordinate = `([+-][0-9]+(?:\.[0-9]+)?)`
	referenceTime       = `([0-9]{1,18}(?:\.[0-9]+)?)`
)

var (
	referenceIAmAt   = referenceCommandOf("IAMAT", referenceField, referenceCoordinate+referenceCoordinate, referenceTime)
	referenceWhatsAt = referenceCommandOf("WHATSAT", referenceField, referenceNumber, `([0-9]+)`)
	referenceRecord  = regexp.MustCompile(`^AT ([A-Za-z0-9_]{1,64}) ([+-](?:0|[1-9][0-9]{0,17})\.[0-9]{9}) ` + referenceField +
		` ` + referenceCoordinate + referenceCoordinate + ` ` + referenceTime + `$`)
	referenceTombstone = regexp.MustCompile(`^AT ([A-Za-z0-9_]{1,64}) ([+-](?:0|[1-9][0-9]{0,17})\.[0-9]{9}) ` + referenceField +
		` - ((?:0|[1-9][0-9]{0,17})\.[0-9]{9})$`)
)

func referenceCommandOf(verb string, fields ...string) *regexp.Regexp {
	all := append([]string{verb}, fields...)
	return regexp.MustCompile(`^` + referenceSpace + `*` + strings.Join(all, referenceSpace+`+`) + referenceSpace + `*$`)
}

// referenceCommand parses a line from a client.
func referenceCommand(line []byte) Command {
	text := latin1(line)
	if m := referenceIAmAt.FindStringSubmatch(text); m != nil && within(m[2], 90) && within(m[3], 180) {
		return Command{Verb: IAmAt, Client: bytesOf(m[1]), Location: bytesOf(m[2] + m[3]), TimeText: bytesOf(m[4]), Time: instantOf(floorNano(m[4]))}
	}
	if m := referenceWhatsAt.FindStringSubmatch(text); m != nil && within(m[2], 50) && within(m[3], 20) {
		radius, _ := rational(m[2]).Float64()
		return Command{Verb: WhatsAt, Client: bytesOf(m[1]), Radius: radius, Bound: int(rational(m[3]).Num().Int64())}
	}
	return Command{}
}

// referenceRank is a parsed record: what decides which one wins. Times are in nanoseconds.
type referenceRank struct {
	server, client           string
	effective, time, receipt *big.Int
	line                     string
}

// referenceRecordOf parses the line of a record.
func referenceRecordOf(line []byte) (r referenceRank, ok bool) {
	m := referenceRecord.FindStringSubmatch(latin1(line))
	if t := referenceTombstone.FindStringSubmatch(latin1(line)); t != nil {
		m = []string{t[0], t[1], t[2], t[3], "+0", "+0", t[4]}
	}
	if m == nil || len(line) > 262_400 || len(m[3]) > 262_144 || !within(m[4], 90) || !within(m[5], 180) || m[2] == "-0.000000000" {
		return r, false
	}
	r = referenceRank{server: m[1], client: string(bytesOf(m[3])), time: floorNano(m[6]), line: string(line)}
	r.receipt = new(big.Int).Add(r.time, floorNano(m[2])) // nine decimals: a whole number of nanoseconds
	r.effective = r.time
	if limit := new(big.Int).Add(r.receipt, big.NewInt(60_000_000_000)); r.time.Cmp(limit) > 0 {
		r.effective = limit
	}
	return r, true
}

// compare is +1 if r wins over o.
func (r referenceRank) compare(o referenceRank) int {
	return cmp.Or(r.effective.Cmp(o.effective), r.time.Cmp(o.time), o.receipt.Cmp(r.receipt), strings.Compare(r.line, o.line))
}

// latin1 makes each byte a character. Regular expressions work on text.
func latin1(b []byte) string {
	runes := make([]rune, len(b))
	for i, c := range b {
		runes[i] = rune(c)
	}
	return string(runes)
}

// bytesOf undoes latin1.
func bytesOf(text string) []byte {
	b := []byte{}
	for _, r := range text {
		b = append(b, byte(r))
	}
	return b
}

func rational(text string) *big.Rat {
	r, ok := new(big.Rat).SetString(text)
	if !ok {
		panic("not a number: " + text)
	}
	return r
}

func within(text string, limit int64) bool {
	r := rational(text)
	return r.Abs(r).Cmp(big.NewRat(limit, 1)) <= 0
}

// floorNano is a number of seconds in nanoseconds, without the digits behind the ninth.
func floorNano(text string) *big.Int {
	r := rational(text)
	r.Mul(r, big.NewRat(1_000_000_000, 1))
	return new(big.Int).Quo(r.Num(), r.Denom())
}

func instantOf(nano *big.Int) Instant {
	sec, nsec := new(big.Int).DivMod(nano, big.NewInt(1_000_000_000), new(big.Int))
	return Instant{sec.Int64(), int32(nsec.Int64())}
}

// longest is the length of the longest line that the fuzz tests try: rationals are slow.
const longest = 4096

// FuzzParseCommand: the parser finds in every line what the reference finds, and a record
// made of a report is read back as it was made.
func FuzzParseCommand(f *testing.F) {
	for _, seed := range []string{
		"IAMAT kiwi.cs.ucla.edu +34.068930-118.445127 1621464827.959498503",
		"WHATSAT kiwi.cs.ucla.edu 10 5",
		"IAMAT k +90.0000000000000000000001-180 5",
		"IAMAT k +1+1 999999999999999999.99999999999", "IAMAT k +1+1 1000000000000000000",
		"\tIAMAT\vk\f-90+180.000\r0.0000000001\r",
		"WHATSAT k 50.0 020", "WHATSAT k 49.99999999999999999999 20", "WHATSAT k 0.1 00000000000000000000",
		"AT Goloman +0.1 k +1+1 1", "", " ", "IAMAT\xa0k +1+1 1", "IAMAT\xc2\x85k +1+1 1", "? IAMAT",
		"iamat k +1+1 1", "IAMAT k +1+1 1 x", "IAMAT k +1.+1 1", "IAMAT k +1+.1 1", "IAMAT k +1+1 1e3", "WHATSAT k 0x1 1", "WHATSAT k nan 1",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		line = bytes.ReplaceAll(line, []byte("\n"), nil)
		if len(line) > longest {
			return
		}
		c := ParseCommand(line)
		want := referenceCommand(line)
		if c.Verb != want.Verb || !bytes.Equal(c.Client, want.Client) || !bytes.Equal(c.Location, want.Location) ||
			!bytes.Equal(c.TimeText, want.TimeText) || c.Time != want.Time || c.Radius != want.Radius || c.Bound != want.Bound {
			t.Fatalf("ParseCommand(%q) = %+v, want %+v", line, c, want)
		}
		if c.Verb != IAmAt {
			return
		}
		receipt := Instant{1_700_000_000, 123}
		_, made := AppendRecord(nil, "Goloman", c, receipt)
		read, err := ParseRecord(made.Line)
		if err != nil {
			t.Fatalf("ParseRecord(%q): %v", made.Line, err)
		}
		if !bytes.Equal(read.Client(), c.Client) || read.Receipt != receipt || read.Time != c.Time || Compare(read, made) != 0 {
			t.Fatalf("ParseRecord(%q) = %+v, want what AppendRecord made: %+v", made.Line, read, made)
		}
	})
}

// FuzzCompare: the parser accepts the lines that the reference accepts, finds the same
// times in them, and decides alike which of two wins.
func FuzzCompare(f *testing.F) {
	const real = "AT Goloman +0.263279400 kiwi +34.068930-118.445127 1621464827.959498503"
	for _, other := range []string{
		real, strings.Replace(real, "Goloman", "Hands", 1), strings.Replace(real, "+0.263279400", "+0.263279401", 1),
		"AT Hands -86400.000000000 kiwi +34.068930-118.445127 1621551227.9594985039", "AT H -60.000000001 kiwi -0-0 1621464887.9594985031",
		"AT G -999999999999999999.999999999 \xff -0-0 999999999999999999.999999999999", "AT G +0.000000000 k +90.00-180 5", "AT G -0.000000000 k +1+1 5",
		"AT G +01.000000000 k +1+1 5", "AT G +1.00000000 k +1+1 5", "AT G- +1.000000000 k +1+1 5", "AT  G +1.000000000 k +1+1 5",
		"AT G +1.000000000 kiwi - 1621464827.959498504", "AT G +1.000000000 k - 5", "AT G +1.000000000 k - 05.000000000", "AT G +1.000000000 k - 5.0000000000",
	} {
		f.Add([]byte(real), []byte(other))
	}
	f.Fuzz(func(t *testing.T, a, b []byte) {
		if len(a) > longest || len(b) > longest {
			return
		}
		var records [2]Record
		var want [2]referenceRank
		for i, line := range [][]byte{a, b} {
			r, err := ParseRecord(line)
			w, ok := referenceRecordOf(line)
			if ok != (err == nil) {
				t.Fatalf("ParseRecord(%q): %v, but the reference accepts it: %v", line, err, ok)
			}
			if err != nil {
				return
			}
			if string(r.Server()) != w.server || string(r.Client()) != w.client ||
				r.Time != instantOf(w.time) || r.Receipt != instantOf(w.receipt) || r.Effective != instantOf(w.effective) {
				t.Fatalf("ParseRecord(%q) = %+v, want %+v", line, r, w)
			}
			records[i], want[i] = r, w
		}
		if got, w := Compare(records[0], records[1]), want[0].compare(want[1]); got != w || Compare(records[1], records[0]) != -w {
			t.Fatalf("Compare(%q, %q) = %d, and %d the other way round, want %d and %d", a, b, got, Compare(records[1], records[0]), w, -w)
		}
	})
}
