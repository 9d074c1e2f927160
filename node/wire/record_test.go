package wire

import (
	"bytes"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestAppendRecord(t *testing.T) {
	tests := []struct {
		time       string
		receipt    Instant
		difference string
	}{
		{"1621464827.959498503", Instant{1621464828, 222_777_903}, "+0.263279400"},
		{"5", Instant{5, 0}, "+0.000000000"},
		{"5.5", Instant{5, 0}, "-0.500000000"},
		{"5.000000001", Instant{5, 0}, "-0.000000001"},
		{"5.0000000009", Instant{5, 0}, "+0.000000000"},
		{"7.25", Instant{5, 0}, "-2.250000000"},
		{"6", Instant{5, 999_999_999}, "-0.000000001"},
		{"999999999999999999.9", Instant{1_700_000_000, 0}, "-999999998299999999.900000000"},
		{"0", Instant{1_700_000_000, 1}, "+1700000000.000000001"},
	}
	for _, tt := range tests {
		c := ParseCommand([]byte("IAMAT  kiwi\t+34-118 " + tt.time))
		got, r := AppendRecord([]byte("before"), "Goloman", c, tt.receipt)
		want := "AT Goloman " + tt.difference + " kiwi +34-118 " + tt.time
		if string(got) != "before"+want || string(r.Line) != want {
			t.Errorf("AppendRecord(time %s, receipt %v) = %q with record %q, want %q", tt.time, tt.receipt, got, r.Line, want)
		}
		if got := string(r.Client()); got != "kiwi" {
			t.Errorf("AppendRecord(time %s).Client = %q, want kiwi", tt.time, got)
		}
		if r.Receipt != tt.receipt {
			t.Errorf("AppendRecord(time %s).Receipt = %v, want %v", tt.time, r.Receipt, tt.receipt)
		}
	}
}

func TestParseRecordMalformed(t *testing.T) {
	const good = "AT Goloman +0.263279400 kiwi +34.068930-118.445127 1621464827.959498503"
	if _, err := ParseRecord([]byte(good)); err != nil {
		t.Fatalf("ParseRecord(%q): %v", good, err)
	}
	for _, bad := range []string{
		"", "AT", good + " ", " " + good, good + "\r", good + " x", strings.Replace(good, " ", "  ", 1),
		strings.Replace(good, "AT ", "at ", 1),
		strings.Replace(good, "Goloman", "Golo-man", 1),
		strings.Replace(good, "Goloman", "G\u00f6loman", 1),
		strings.Replace(good, "Goloman", "", 1),
		strings.Replace(good, "kiwi", "", 1),
		strings.Replace(good, "kiwi", "ki\twi", 1),
		strings.Replace(good, "kiwi", "ki\nwi", 1),
		strings.Replace(good, "+0.263279400", "0.263279400", 1),
		strings.Replace(good, "+0.263279400", "+00.263279400", 1),
		strings.Replace(good, "+0.263279400", "+.263279400", 1),
		strings.Replace(good, "+0.263279400", "+0.26327940", 1),
		strings.Replace(good, "+0.263279400", "+0.2632794000", 1),
		strings.Replace(good, "+0.263279400", "+0.26327940x", 1),
		strings.Replace(good, "+0.263279400", "-0.000000000", 1),
		strings.Replace(good, "+0.263279400", "+1000000000000000000.000000000", 1),
		strings.Replace(good, "+34.068930", "+94.068930", 1),
		strings.Replace(good, "1621464827", "1621464827000000000", 1),
	} {
		if r, err := ParseRecord([]byte(bad)); err == nil {
			t.Errorf("ParseRecord(%q) = %+v, want an error", bad, r)
		}
	}
}

// TestBounds: a record, its client and its server's name have a bound each, and the last
// byte within it counts.
func TestBounds(t *testing.T) {
	record := func(server, client, decimals int) string {
		return "AT " + strings.Repeat("S", server) + " +1.000000000 " + strings.Repeat("c", client) + " +1+1 5." + strings.Repeat("0", decimals)
	}
	rest := MaxRecord - len(record(1, 1, 0))
	for _, tt := range []struct {
		name                     string
		server, client, decimals int
		want                     bool
	}{
		{"longest server", MaxServer, 1, 1, true},
		{"server too long", MaxServer + 1, 1, 1, false},
		{"longest client", 1, MaxClient, 1, true},
		{"client too long", 1, MaxClient + 1, 1, false},
		{"longest record", 1, 1, rest, true},
		{"record too long", 1, 1, rest + 1, false},
	} {
		line := []byte(record(tt.server, tt.client, tt.decimals))
		if _, err := ParseHeader(line); (err == nil) != tt.want {
			t.Errorf("%s: ParseHeader = %v, want a record: %v", tt.name, err, tt.want)
		}
		if _, err := ParseRecord(line); (err == nil) != tt.want {
			t.Errorf("%s: ParseRecord = %v, want a record: %v", tt.name, err, tt.want)
		}
		c := ParseCommand([]byte("IAMAT " + strings.Repeat("c", tt.client) + " +1+1 5." + strings.Repeat("0", tt.decimals)))
		if _, r := AppendRecord(nil, strings.Repeat("S", tt.server), c, Instant{6, 0}); r.WithinBounds() != tt.want {
			t.Errorf("%s: WithinBounds = %v, want %v", tt.name, !tt.want, tt.want)
		}
	}
}

// TestLongestCommand: whatever of its fields is long, a command of 256 KiB, the largest
// HERD_MAX_LINE, makes a record within the bounds.
func TestLongestCommand(t *testing.T) {
	const most = 256 << 10
	pad := func(format, with string) []byte {
		return []byte(strings.Replace(format, "_", strings.Repeat(with, most-len(format)+1), 1))
	}
	for _, line := range [][]byte{
		pad("IAMAT c_ +1+1 999999999999999999.999999999", "c"),
		pad("IAMAT c +1._+1 999999999999999999.999999999", "0"),
		pad("IAMAT c +1+1 999999999999999999._", "9"),
	} {
		c := ParseCommand(line)
		if len(line) != most || c.Verb != IAmAt {
			t.Fatalf("%.40q of %d bytes is not a command of %d", line, len(line), most)
		}
		record, _ := AppendRecord(nil, strings.Repeat("S", MaxServer), c, Instant{})
		if _, err := ParseRecord(record); err != nil {
			t.Errorf("%.40q makes a record of %d bytes: %v", line, len(record), err)
		}
	}
}

// TestCompareRules has a pair of records for each rule of PROTOCOL.md that only this rule
// decides.
func TestCompareRules(t *testing.T) {
	tests := []struct{ name, winner, loser string }{
		{"greater time", "AT A +1.000000000 c +1+1 11", "AT A +5.000000000 c +1+1 10"},
		{"greater time by a nanosecond", "AT A +1.000000000 c +1+1 10.000000001", "AT A +1.000000000 c +1+1 10"},
		{"effective time bounds a fast clock", "AT A +0.000000000 c +1+1 161", "AT A -900.000000000 c +1+1 1000"},
		{"60 s ahead counts in full", "AT A -60.000000000 c +1+1 160", "AT A +0.000000000 c +1+1 159"},
		{"equal effective, greater client time", "AT A -70.000000000 c +1+1 170", "AT A +0.000000000 c +1+1 160"},
		{"equal times, earlier receipt", "AT A +1.000000000 c +1+1 10", "AT A +2.000000000 c +2+2 10"},
		{"equal receipt, greater line", "AT B +1.000000000 c +1+1 10", "AT A +1.000000000 c +1+1 10"},
		{"equal time written differently, greater line", "AT A +1.000000000 c +1+1 10.00", "AT A +1.000000000 c +1+1 10"},
		{"decimals after the ninth do not count", "AT A +1.000000000 c +1+1 10.0000000001", "AT A +1.000000000 c +1+1 10.00000000009"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w, l := mustParse(t, tt.winner), mustParse(t, tt.loser)
			if Compare(w, l) != 1 || Compare(l, w) != -1 || Compare(w, w) != 0 {
				t.Errorf("Compare(%q, %q) = %d, reversed %d, want 1 and -1", tt.winner, tt.loser, Compare(w, l), Compare(l, w))
			}
		})
	}
}

// TestCompareIsATotalOrder draws three records from few values, so that ties on every rule
// are common.
func TestCompareIsATotalOrder(t *testing.T) {
	record := rapid.Custom(func(t *rapid.T) Record {
		line := "AT " + rapid.SampledFrom([]string{"A", "B"}).Draw(t, "server") +
			" " + rapid.SampledFrom([]string{"+0.000000000", "+1.000000000", "-1.000000000", "-60.000000000", "-61.000000000", "-90.000000000", "+30.500000000"}).Draw(t, "difference") +
			" c +1" + rapid.SampledFrom([]string{"+1", "-1"}).Draw(t, "longitude") +
			" " + rapid.SampledFrom([]string{"100", "100.0", "100.5", "101", "130", "160", "161", "190"}).Draw(t, "time")
		r, err := ParseRecord([]byte(line))
		if err != nil {
			t.Fatalf("ParseRecord(%q): %v", line, err)
		}
		return r
	})
	rapid.Check(t, func(t *rapid.T) {
		a, b, c := record.Draw(t, "a"), record.Draw(t, "b"), record.Draw(t, "c")
		if Compare(a, b) != -Compare(b, a) {
			t.Fatalf("Compare(a, b) = %d, Compare(b, a) = %d", Compare(a, b), Compare(b, a))
		}
		if (Compare(a, b) == 0) != bytes.Equal(a.Line, b.Line) {
			t.Fatalf("Compare(%q, %q) = %d", a.Line, b.Line, Compare(a, b))
		}
		if Compare(a, b) >= 0 && Compare(b, c) >= 0 && Compare(a, c) < 0 {
			t.Fatalf("not transitive: %q >= %q >= %q", a.Line, b.Line, c.Line)
		}
	})
}

func TestPosition(t *testing.T) {
	r := mustParse(t, "AT A +0.000000000 c -34.068930+0118.445127 1")
	if lat, lon := r.Position(); lat != -34.06893 || lon != 118.445127 {
		t.Errorf("Position = %v, %v, want -34.06893, 118.445127", lat, lon)
	}
}

func FuzzParseRecord(f *testing.F) {
	f.Add([]byte("AT Goloman +0.263279400 kiwi +34.068930-118.445127 1621464827.959498503"))
	f.Add([]byte("AT G -999999999999999999.999999999 \xff -0-0 999999999999999999"))
	f.Add([]byte("AT G +1.000000001 kiwi - 1621464827.000000001"))
	f.Fuzz(func(t *testing.T, line []byte) {
		r, err := ParseRecord(line)
		if err != nil {
			return
		}
		// AppendRecord writes the same line for the same report.
		text := line[bytes.LastIndexByte(line, ' ')+1:]
		c := Command{Verb: IAmAt, Client: r.Client(), Location: r.Location(), TimeText: text, Time: r.Time}
		_, again := AppendRecord(nil, string(r.Server()), c, r.Receipt)
		if !bytes.Equal(again.Line, line) || again.Rank != r.Rank || !bytes.Equal(again.Client(), r.Client()) {
			t.Fatalf("AppendRecord of ParseRecord(%q) = %q", line, again.Line)
		}
		if ParseCommand(line).Verb != Invalid {
			t.Fatalf("record %q is also a command", line)
		}
	})
}

func mustParse(t *testing.T, line string) Record {
	t.Helper()
	r, err := ParseRecord([]byte(line))
	if err != nil {
		t.Fatalf("ParseRecord(%q): %v", line, err)
	}
	return r
}
