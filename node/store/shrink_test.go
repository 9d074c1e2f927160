package store

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
)

// TestShrinkingIndex: the index finds exactly what was added and not removed, while it shrinks and afterwards.
func TestShrinkingIndex(t *testing.T) {
	for seed := range uint64(4) {
		rng := rand.New(rand.NewPCG(seed, 0))
		var m Map
		x := &m.index
		hashes := map[ID]uint64{}
		hash := func(id ID) uint64 { return uint64(id%97)<<32 | uint64(id)*2654435761>>uint(seed%3)&0xffff_ffff | 3 } // neighbours collide
		shrunk, next := 0, ID(0)
		for range 4 {
			for range 6000 {
				hashes[next] = hash(next)
				x.add(hash(next), next)
				next++
			}
			for most := len(x.slots); len(hashes) > 20 || x.old != nil; {
				if len(hashes) > 20 || rng.IntN(2) == 0 {
					for id, h := range hashes {
						x.remove(h, id)
						delete(hashes, id)
						break
					}
				}
				if rng.IntN(10) == 0 {
					hashes[next] = hash(next)
					x.add(hash(next), next)
					next++
				}
				if m.Shrink(rng.IntN(100)); len(x.slots) < most {
					shrunk, most = shrunk+1, len(x.slots)
				}
				if rng.IntN(50) > 0 {
					continue
				}
				for id, h := range hashes {
					if !slices.Contains(slices.Collect(x.candidates(h)), id) {
						t.Fatalf("seed %d: %d is lost", seed, id)
					}
				}
				taken := 0
				for _, s := range append(slices.Clone(x.slots), x.old...) {
					if s.id != 0 {
						taken++
					}
				}
				if taken != len(hashes) || x.taken != taken {
					t.Fatalf("seed %d: %d slots are taken, %d counted, want %d", seed, taken, x.taken, len(hashes))
				}
			}
		}
		if shrunk < 4 || len(x.slots) > 4*smallIndex {
			t.Errorf("seed %d: it has shrunk %d times, to %d slots", seed, shrunk, len(x.slots))
		}
	}
}

// TestAddsWhileShrinking: clients that come while the index shrinks have room in it.
func TestAddsWhileShrinking(t *testing.T) {
	var x index
	x.slots = make([]slot, 1<<16)
	m := Map{index: x}
	for id := range ID(1 << 13) {
		m.index.add(uint64(id)*7, id)
	}
	m.Shrink(0)
	if m.index.old == nil {
		t.Fatal("it does not shrink")
	}
	for id := ID(1 << 13); m.index.old != nil; id++ {
		m.index.add(uint64(id)*7, id)
		if taken := m.index.taken; 4*taken > 3*len(m.index.slots) {
			t.Fatalf("%d of %d slots are taken", taken, len(m.index.slots))
		}
	}
}

// TestLimitAfterBacklog: a map that was larger than its limit, and has lost its records, takes as many as the limit allows.
func TestLimitAfterBacklog(t *testing.T) {
	const clients, limit = 100_000, 2 << 20
	var m Map
	for i := range clients {
		mergeText(t, &m, fmt.Sprintf("AT A +0.000000000 client%d.example +34.0-118.0 1700000000", i))
	}
	m.SetLimit(limit)
	for i := range clients {
		removeNow(&m, fmt.Sprintf("client%d.example", i))
	}
	for more := true; more; {
		more = m.Shrink(1000)
		more = m.GiveBack(1000) || more
	}
	if m.BytesWithOneMore() > limit/2 {
		t.Errorf("without records it has %d bytes, with a limit of %d", m.BytesWithOneMore(), limit)
	}
	for i := range clients { // tombstones may take a quarter more than the limit
		mergeText(t, &m, fmt.Sprintf("AT A +0.000000000 client%d.example - 1700000000.000000001", i))
	}
	if got := m.Bytes(); got > limit+limit/4 || got < limit/2 {
		t.Errorf("tombstones take %d bytes, with a limit of %d", got, limit)
	}
}
