package store

import (
	"fmt"
	"strings"
	"testing"

	"herd/node/wire"
)

func mergeText(t testing.TB, m *Map, line string) Outcome {
	t.Helper()
	r, err := wire.ParseRecord([]byte(line))
	if err != nil {
		t.Fatal(err)
	}
	_, outcome := m.Merge(r)
	return outcome
}

// TestLimit: a map at its limit refuses new clients by either way of merging, keeps what it
// has, and updates the clients that it knows.
func TestLimit(t *testing.T) {
	const limit = 1 << 20
	var m Map
	m.SetLimit(limit)
	line := func(client, at int) string { return fmt.Sprintf("AT A +0.000000000 c%d +1+1 %d", client, at) }
	clients := 0
	for ; mergeText(t, &m, line(clients, 100)) == News; clients++ {
		if m.Bytes() > limit {
			t.Fatalf("%d bytes with %d clients, want at most %d", m.Bytes(), clients, limit)
		}
	}
	// The index doubles: so the last step may be large.
	if m.Len() != clients || m.Bytes() < limit*2/3 {
		t.Fatalf("full with %d clients and %d bytes of %d", m.Len(), m.Bytes(), limit)
	}
	digest := m.Digest()
	refused := 0
	m.MergeLines([]byte(line(clients, 100)+"\n"+line(clients+1, 100)), func(_ []byte, _ ID, o Outcome, err error) {
		if o == Refused && err == nil {
			refused++
		}
	})
	if refused != 2 || m.Len() != clients || m.Digest() != digest || m.Has(fmt.Appendf(nil, "c%d", clients)) {
		t.Errorf("%d of 2 new clients refused; %d clients, want %d", refused, m.Len(), clients)
	}
	for i := range clients {
		if got := mergeText(t, &m, line(i, 200)); got != News {
			t.Fatalf("update of client %d: %v", i, got)
		}
	}
	if got := mergeText(t, &m, line(3, 150)); got != Stale {
		t.Errorf("an older record of a known client: %v", got)
	}
	m.SetLimit(0)
	if got := mergeText(t, &m, line(clients, 100)); got != News {
		t.Errorf("without a limit: %v", got)
	}
}

// TestLimitOfLongerRecords: known clients cannot make a full map grow without bound by
// longer and longer records.
func TestLimitOfLongerRecords(t *testing.T) {
	const limit = 1 << 20
	for _, long := range []int{200, 500, 8000} {
		var m Map
		m.SetLimit(limit)
		for i := 0; mergeText(t, &m, fmt.Sprintf("AT A +0.000000000 c%d +1+1 100", i)) == News; i++ {
		}
		clients, grown, refused := m.Len(), 0, 0
		for i := range clients {
			switch got := mergeText(t, &m, fmt.Sprintf("AT A +0.000000000 c%d +1+1 200.%s", i, strings.Repeat("0", long))); got {
			case News:
				grown++
			case Refused:
				refused++
			default:
				t.Fatalf("update: %v", got)
			}
		}
		most := int64(limit * 11 / 10)
		if long == 200 {
			most = limit * 3 / 2
		}
		if grown == 0 || refused == 0 || m.Bytes() > most {
			t.Errorf("%d clients with lines of %d bytes: %d grew, %d were refused, %d bytes of %d", clients, long, grown, refused, m.Bytes(), limit)
		}
		for i := range clients { // all can be updated by records that need no more memory
			if got := mergeText(t, &m, fmt.Sprintf("AT A +0.000000000 c%d +1+1 300", i)); got != News {
				t.Fatalf("update of client %d by a short record: %v", i, got)
			}
		}
	}
}

// TestBytes: Bytes counts what the arena has handed out, also after lines have moved
// between slots.
func TestBytes(t *testing.T) {
	var m Map
	for round := range 3 {
		for i := range 3000 {
			mergeText(t, &m, fmt.Sprintf("AT A +0.000000000 c%d +1+1 %d.0%s", i, 100+round, strings.Repeat("0", (i*37+round*211)%900)))
		}
	}
	var handedOut int64
	for _, chunk := range m.lines.chunks {
		if len(chunk) == chunkSize {
			handedOut += chunkSize
		} else {
			handedOut += int64(len(chunk))
		}
	}
	// Chunks of small lines have an unused end each.
	if slack := handedOut - m.lines.bytes; slack < 0 || float64(slack) > 0.02*float64(handedOut) {
		t.Errorf("the arena counts %d bytes, its chunks have %d", m.lines.bytes, handedOut)
	}
}
