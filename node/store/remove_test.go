package store

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"herd/node/wire"
)

// removeNow removes a client as the server does, with all stages at once.
func removeNow(m *Map, client string) {
	id, _ := m.Find([]byte(client))
	m.Remove(id)
	ids, _ := m.Unlink(nil, 1<<20)
	for _, id := range ids {
		m.Release(id)
	}
}

// TestRemove: a map from which records were removed, in whatever order and with IDs that are used again, is
// the map of the other records: in lines, digests, buckets and counts.
func TestRemove(t *testing.T) {
	for seed := range uint64(8) {
		rng := rand.New(rand.NewPCG(seed, 0))
		var m Map
		model := map[string]string{} // lines, by client
		unlinked := []ID{}
		clients := 20 + rng.IntN(5000)
		for step := range 20_000 {
			client := fmt.Sprint("c", rng.IntN(clients))
			switch op := rng.IntN(12); {
			case op < 5:
				at := step + rng.IntN(100)
				line := fmt.Sprintf("AT A +1.000000000 %s +1-1.0%s %d", client, strings.Repeat("0", rng.IntN(3)*300), at)
				if rng.IntN(10) == 0 {
					line = fmt.Sprintf("AT A +1.000000000 %s - %d.000000000", client, at)
				}
				if mergeText(t, &m, line) == News {
					model[client] = line
				}
			case op < 10:
				if id, held := m.Find([]byte(client)); held {
					m.Remove(id)
					delete(model, client)
				}
			case op == 10:
				ids, _ := m.Unlink(nil, 1+rng.IntN(2000))
				unlinked = append(unlinked, ids...)
				for len(unlinked) > 0 && rng.IntN(100) > 0 {
					m.Release(unlinked[0])
					unlinked = unlinked[1:]
				}
			default:
				if id, held := m.Find([]byte(client)); held {
					m.MarkExpired(id)
					if _, known := m.Get(nil, []byte(client)); known {
						t.Fatal("an expired client is known")
					}
				}
				if m.lines.leaving == nil && rng.IntN(20) == 0 { // else the map is too small for it
					m.lines.beginEvacuation()
					m.removal.evacuated = 0
				}
				m.GiveBack(rng.IntN(1000))
			}
			if step%3989 == 0 {
				compareToLines(t, &m, slices.Sorted(maps.Values(model)))
			}
		}
		if m.End() > ID(2*clients) {
			t.Errorf("%d IDs for at most %d clients", m.End(), clients)
		}
		compareToLines(t, &m, slices.Sorted(maps.Values(model)))
	}
}

// compareToLines checks that a map has these lines, and is like a new one that they were merged into.
func compareToLines(t *testing.T, m *Map, lines []string) {
	t.Helper()
	var want Map
	known, size := 0, int64(0)
	for _, line := range lines {
		mergeText(t, &want, line)
		h, _ := wire.ParseHeader([]byte(line))
		id, held := m.Find(h.Client())
		if !held || string(m.Line(id)) != line {
			t.Fatalf("the map does not have %q", line)
		}
		if m.IsKnown(id) {
			known++
		}
		size += int64(len(line)) + 1
	}
	if got := slices.Sorted(m.Lines()); !slices.Equal(got, lines) {
		t.Fatalf("%d lines, want %d", len(got), len(lines))
	}
	if m.Len() != len(lines) || m.Known() != known || m.Size() != size {
		t.Fatalf("%d records, %d known, %d bytes, want %d, %d, %d", m.Len(), m.Known(), m.Size(), len(lines), known, size)
	}
	if m.Digest() != want.Digest() || m.Groups() != want.Groups() {
		t.Fatal("the digests are not those of the lines")
	}
	for group := range wire.Groups {
		if m.Group(byte(group)) != want.Group(byte(group)) {
			t.Fatalf("the digests of group %d are not those of the lines", group)
		}
	}
	inBuckets := 0
	for bucket := range wire.Buckets {
		m.EachInBucket(uint16(bucket), func(id ID, hash uint64) {
			if inBuckets++; m.Hash(id) != hash || BucketOf(m.Line(id)) != uint16(bucket) {
				t.Fatalf("bucket %d has record %q", bucket, m.Line(id))
			}
		})
	}
	if inBuckets != len(lines) {
		t.Fatalf("the buckets have %d records, want %d", inBuckets, len(lines))
	}
}

// TestRemovedMemory: when most clients have gone, most of their memory has, and what is left serves as many new
// clients as before without growing.
func TestRemovedMemory(t *testing.T) {
	const clients = 100_000
	var m Map
	fill := func(generation int) {
		for i := range clients {
			mergeText(t, &m, fmt.Sprintf("AT A +1.000000000 client-%d-%d +34.068930-118.445127 1700000000", generation, i))
		}
	}
	fill(0)
	full := m.Bytes()
	for i := range clients {
		if i%10 > 0 {
			removeNow(&m, fmt.Sprint("client-0-", i))
		}
	}
	parts := 1
	for ; m.GiveBack(1000); parts++ {
	}
	if parts < clients/1000 {
		t.Errorf("it was done in %d parts, want one for 1,000 clients", parts)
	}
	if left := m.Bytes(); left > full*6/10 {
		t.Errorf("with a tenth of the clients the map has %d bytes, of %d", left, full)
	}
	for i := range clients {
		if i%10 == 0 {
			removeNow(&m, fmt.Sprint("client-0-", i))
		}
	}
	for m.GiveBack(1000) {
	}
	if left := m.Bytes(); left > full/4 {
		t.Errorf("without clients the map has %d bytes, of %d", left, full)
	}
	for generation := range 3 {
		fill(1 + generation)
		if m.Bytes() > full*101/100 || m.End() > clients {
			t.Errorf("as many other clients take %d bytes and %d IDs, before %d and %d", m.Bytes(), m.End(), full, clients)
		}
		for i := range clients {
			removeNow(&m, fmt.Sprintf("client-%d-%d", 1+generation, i))
		}
		for m.GiveBack(1000) {
		}
	}
}

// TestFloor: a record whose receipt is below the floor is stale, if the client is known or not. One that the map
// has stays.
func TestFloor(t *testing.T) {
	var m Map
	mergeText(t, &m, "AT A +1.000000000 kiwi +1+1 50")
	m.SetFloor(100)
	for line, want := range map[string]Outcome{
		"AT A +1.000000000 kiwi +1+1 98.999999999": Stale,
		"AT A +1.000000000 emu +1+1 98.999999999":  Stale,
		"AT A +1.000000000 moa +1+1 99":            News,
		"AT A -9.000000000 kea +1+1 100":           Stale,
		"AT A +50.000000000 kiwi +1+1 51":          News,
	} {
		if got := mergeText(t, &m, line); got != want {
			t.Errorf("%q is %v, want %v", line, got, want)
		}
	}
	if m.Len() != 2 {
		t.Errorf("%d records, want 2", m.Len())
	}
}

// TestAppendLinesOfHoles: AppendLines leaves out what was removed, and does not look at all of it at once.
func TestAppendLinesOfHoles(t *testing.T) {
	const clients = 5 * appendAtOnce
	var m Map
	for i := range clients {
		mergeText(t, &m, fmt.Sprintf("AT A +1.000000000 c%d +1+1 50", i))
	}
	for i := range clients - 1 {
		removeNow(&m, fmt.Sprint("c", i))
	}
	calls := 0
	var lines []byte
	for id := ID(0); id < m.End(); calls++ {
		lines, id = m.AppendLines(lines, id, 1000)
	}
	if want := fmt.Sprintf("AT A +1.000000000 c%d +1+1 50\n", clients-1); string(lines) != want || calls < clients/appendAtOnce {
		t.Errorf("%q in %d calls, want %q", lines, calls, want)
	}
}

// TestUnlinkInParts: a bucket with many entries is walked in parts, while clients come and go in it.
func TestUnlinkInParts(t *testing.T) {
	var m Map
	var clients []string
	for i := 0; len(clients) < 60; i++ {
		if c := fmt.Sprint("c", i); bucketOf([]byte(c)) == 7 {
			clients = append(clients, c)
		}
	}
	merge := func(i int) { mergeText(t, &m, fmt.Sprintf("AT A +1.000000000 %s +1+1 50", clients[i])) }
	remove := func(i int) {
		id, _ := m.Find([]byte(clients[i]))
		m.Remove(id)
	}
	for i := range 50 {
		merge(i)
	}
	for i := 0; i < 40; i += 2 {
		remove(i)
	}
	var all []ID
	parts := 0
	for rest := 0; rest == 0; parts++ {
		var ids []ID
		if ids, rest = m.Unlink(nil, 5); len(ids) > 5 {
			t.Fatalf("%d IDs at once, want 5 at most", len(ids))
		}
		all = append(all, ids...)
		if parts == 4 {
			merge(50)
			remove(49) // the walk has passed it
			remove(1)  // not this one
			remove(50)
		}
	}
	if slices.Sort(all); len(all) != 23 || len(slices.Compact(all)) != 23 || parts < 50/5 {
		t.Errorf("%d IDs in %d parts: %v, want 23", len(all), parts, all)
	}
	inBucket := 0
	for next := m.digests.first[7]; next != 0; next = m.entry(next - 1).next {
		inBucket++
	}
	if inBucket != 28 {
		t.Errorf("the bucket has %d entries, want 28", inBucket)
	}
}
