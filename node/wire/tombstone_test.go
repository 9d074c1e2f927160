package wire

import (
	"errors"
	"testing"
)

// TestAppendTombstone: a tombstone wins over the record that it replaces, whatever the clocks say.
func TestAppendTombstone(t *testing.T) {
	for _, tt := range []struct {
		record  string
		reading Instant
		want    string
	}{
		{"AT A +1.000000000 kiwi +1+1 100", Instant{200, 5}, "AT B +100.000000004 kiwi - 100.000000001"},
		{"AT A +1.000000000 kiwi +1+1 100", Instant{50, 0}, "AT B +1.000000000 kiwi - 100.000000001"},         // our clock is late
		{"AT A -1000.000000000 kiwi +1+1 5000", Instant{4001, 0}, "AT B -59.000000001 kiwi - 4060.000000001"}, // the client's clock is ahead
		{"AT A +0.000000000 kiwi +1+1 007.5", Instant{8, 0}, "AT B +0.499999999 kiwi - 7.500000001"},
		{"AT A +0.000000000 kiwi +1+1 0", Instant{1, 0}, "AT B +0.999999999 kiwi - 0.000000001"},
		{"AT A +0.000000000 kiwi +1+1 99.999999999", Instant{1, 0}, "AT B +0.000000000 kiwi - 100.000000000"},
	} {
		of, err := ParseRecord([]byte(tt.record))
		if err != nil {
			t.Fatal(err)
		}
		line, r, err := AppendTombstone([]byte("x"), "B", of, tt.reading)
		if err != nil || string(line) != "x"+tt.want {
			t.Errorf("tombstone of %q = %q, %v, want %q", tt.record, line, err, tt.want)
			continue
		}
		parsed, err := ParseRecord(line[1:])
		if err != nil || parsed.Rank != r.Rank || !parsed.IsTombstone() || of.IsTombstone() {
			t.Errorf("ParseRecord(%q) = %+v, %v, want %+v", line, parsed, err, r)
		}
		if want := of.Effective.Add(Instant{Nsec: 1}); parsed.Effective != want || Compare(parsed, of) <= 0 {
			t.Errorf("%q is effective at %v, want %v", line, parsed.Effective, want)
		}
	}
	last, err := ParseRecord([]byte("AT A +0.000000000 kiwi +1+1 999999999999999999.999999999"))
	if err != nil {
		t.Fatal(err)
	}
	if line, _, err := AppendTombstone(nil, "B", last, Instant{}); !errors.Is(err, ErrNoTombstone) {
		t.Errorf("tombstone of the last time = %q, %v", line, err)
	}
}

// TestParseTombstone: a tombstone has one form, and is no command.
func TestParseTombstone(t *testing.T) {
	for _, line := range []string{
		"AT A +1.000000000 kiwi - 5", "AT A +1.000000000 kiwi - 5.00000000", "AT A +1.000000000 kiwi - 05.000000000", "AT A +1.000000000 kiwi - .000000000",
		"AT A +1.000000000 kiwi -5.000000000", "AT A +1.000000000 kiwi -", "AT A +1.000000000 kiwi - ", "AT A +1.000000000 kiwi + 5.000000000",
		"AT A +1.000000000 kiwi - 5.000000000 ", "AT A +1.000000000 kiwi - 1000000000000000000.000000000",
	} {
		if r, err := ParseRecord([]byte(line)); err == nil {
			t.Errorf("ParseRecord(%q) = %+v", line, r)
		}
	}
	if c := ParseCommand([]byte("IAMAT kiwi - 5.000000000")); c.Verb != Invalid {
		t.Errorf("a client can report a tombstone: %+v", c)
	}
}
