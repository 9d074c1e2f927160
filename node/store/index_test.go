package store

import (
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// TestIndex compares the index with a map from hashes to IDs. Many of the hashes collide:
// as a whole, in their lower halves, or in their slots.
func TestIndex(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		hash := rapid.Custom(func(t *rapid.T) uint64 {
			return rapid.Uint64Range(0, 3).Draw(t, "upper")<<32 | rapid.Uint64Range(0, 300).Draw(t, "lower")
		})
		var x index
		want := map[uint32][]ID{}
		for id, h := range rapid.SliceOfN(hash, 0, 500).Draw(t, "hashes") {
			x.add(h, ID(id))
			want[uint32(h)] = append(want[uint32(h)], ID(id))
		}
		for lower := range uint32(301) {
			got := slices.Sorted(x.candidates(uint64(lower)))
			if !slices.Equal(got, want[lower]) {
				t.Fatalf("candidates(%d) = %v, want %v", lower, got, want[lower])
			}
		}
	})
}
