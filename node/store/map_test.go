package store

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/cespare/xxhash/v2"
	"pgregory.net/rapid"

	"herd/node/wire"
)

// record draws records of few clients, times and receipts, so that ties of every kind are
// common.
var record = rapid.Custom(func(t *rapid.T) wire.Record {
	difference := rapid.SampledFrom([]string{"+0.000000000", "+1.000000000", "-1.000000000", "-61.000000000", "-90.000000000"}).Draw(t, "difference")
	line := fmt.Sprintf("AT %s %s %s +1+1 %d", rapid.SampledFrom([]string{"A", "B", "C"}).Draw(t, "server"), difference,
		rapid.SampledFrom([]string{"kiwi", "emu"}).Draw(t, "client"), rapid.IntRange(100, 104).Draw(t, "time"))
	r, err := wire.ParseRecord([]byte(line))
	if err != nil {
		t.Fatalf("ParseRecord(%q): %v", line, err)
	}
	return r
})

func mapOf(records []wire.Record) *Map {
	var m Map
	for _, r := range records {
		m.Merge(r)
	}
	return &m
}

func sortedLines(m *Map) []string { return slices.Sorted(m.Lines()) }

// TestMergeInAnyOrder: Merge is commutative, associative and idempotent. So the same
// records in any order, some of them repeated, make equal maps. Each map holds the winners
// of wire.Compare.
func TestMergeInAnyOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		records := rapid.SliceOf(record).Draw(t, "records")
		again := append(rapid.Permutation(records).Draw(t, "permuted"), rapid.SliceOf(rapid.SampledFrom(append(records, wire.Record{}))).Draw(t, "repeated")...)
		again = slices.DeleteFunc(again, func(r wire.Record) bool { return r.Line == nil })
		a, b := mapOf(records), mapOf(again)
		if !slices.Equal(sortedLines(a), sortedLines(b)) {
			t.Fatalf("the map is %q, in another order %q", sortedLines(a), sortedLines(b))
		}
		best := map[string]wire.Record{}
		for _, r := range records {
			if old, ok := best[string(r.Client())]; !ok || wire.Compare(r, old) > 0 {
				best[string(r.Client())] = r
			}
		}
		for client, r := range best {
			if got, _ := a.Get(nil, []byte(client)); string(got) != string(r.Line) {
				t.Fatalf("the map holds %q, the winner of wire.Compare is %q", got, r.Line)
			}
		}
		if len(best) != a.Len() {
			t.Fatalf("the map holds %d clients, want %v", a.Len(), slices.Collect(maps.Keys(best)))
		}
	})
}

// TestMergeOutcome: the outcome is News if and only if the map changes, and Duplicate if
// and only if the map already holds the record.
func TestMergeOutcome(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var m Map
		for _, r := range rapid.SliceOf(record).Draw(t, "records") {
			before, _ := m.Get(nil, r.Client())
			_, outcome := m.Merge(r)
			after, _ := m.Get(nil, r.Client())
			if (outcome == News) == bytes.Equal(before, after) || (outcome == Duplicate) != bytes.Equal(before, r.Line) {
				t.Fatalf("Merge(%q) into %q = %v, the map then holds %q", r.Line, before, outcome, after)
			}
		}
	})
}

// TestMergeLines: merging lines in batches has the same outcomes as merging one by one,
// also with malformed lines, empty lines and several lines of one client. The digests
// match the lines.
func TestMergeLines(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var batched, single Map
		text := rapid.OneOf(
			rapid.Map(record, func(r wire.Record) string { return string(r.Line) }),
			rapid.Map(rapid.IntRange(0, 200), func(i int) string { return fmt.Sprintf("AT A +0.000000000 c%d +1+1 %d", i, 100+i%7) }),
			rapid.SampledFrom([]string{"", "AT", "AT A +0.000000000 kiwi", "AT A +0.000000000 kiwi +1+1 x", "IAMAT kiwi +1+1 1"}),
		)
		for range 3 {
			lines := rapid.SliceOfN(text, 0, 300).Draw(t, "lines")
			var want, got []string
			for _, line := range lines {
				switch r, err := wire.ParseRecord([]byte(line)); {
				case line == "":
				case err != nil:
					want = append(want, line+": error")
				default:
					id, outcome := single.Merge(r)
					want = append(want, fmt.Sprintf("%s: %d %v", line, id, outcome))
				}
			}
			batched.MergeLines([]byte(strings.Join(lines, "\n")), func(line []byte, id ID, outcome Outcome, err error) {
				if err != nil {
					got = append(got, string(line)+": error")
				} else {
					got = append(got, fmt.Sprintf("%s: %d %v", line, id, outcome))
				}
			})
			if !slices.Equal(got, want) {
				t.Fatalf("in batches:\n%s\none by one:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
			}
		}
		if batched.digests == nil {
			return
		}
		var buckets [wire.Groups][wire.Groups]uint64
		for line := range batched.Lines() {
			r, _ := wire.ParseRecord([]byte(line))
			b := bucketOf(r.Client())
			buckets[b>>8][b&0xff] ^= xxhash.Sum64String(line)
		}
		for g := range buckets {
			sum := uint64(0)
			for _, b := range buckets[g] {
				sum ^= b
			}
			if batched.Group(byte(g)) != buckets[g] || batched.digests.groups[g] != sum {
				t.Fatalf("the digests of group %d do not match its records", g)
			}
		}
	})
}

// TestMergeCopies: the map keeps no reference to the caller's bytes.
func TestMergeCopies(t *testing.T) {
	line := []byte("AT A +0.000000000 kiwi +1+1 100")
	want := string(line)
	r, err := wire.ParseRecord(line)
	if err != nil {
		t.Fatal(err)
	}
	m := mapOf([]wire.Record{r})
	for i := range line {
		line[i] = 'x'
	}
	if got, ok := m.Get(nil, []byte("kiwi")); !ok || string(got) != want {
		t.Errorf("after the caller changed its buffer, Get = %q, %v, want %q", got, ok, want)
	}
}
