package replica

import (
	"slices"
	"testing"

	"pgregory.net/rapid"

	"herd/node/store"
)

// from is what next finds from begin on.
func (m *marks) from(begin store.ID) (found []store.ID) {
	for id, ok := m.next(begin); ok; id, ok = m.next(id + 1) {
		found = append(found, id)
	}
	return found
}

// TestMarks compares marks with a Go map.
func TestMarks(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		all := rapid.SampledFrom([]int{0, 1, 63, 64, 65, 4095, 4096, 4097, 9000}).Draw(t, "all")
		m, want := allMarks(all), map[store.ID]bool{}
		for id := range all {
			want[store.ID(id)] = true
		}
		ids := rapid.OneOf(rapid.Uint32Range(0, 200), rapid.Uint32Range(4000, 9100), rapid.Uint32Range(0, 300_000))
		t.Repeat(map[string]func(*rapid.T){
			"add": func(t *rapid.T) {
				id := store.ID(ids.Draw(t, "id"))
				m.add(id)
				want[id] = true
			},
			"remove": func(t *rapid.T) {
				id := store.ID(ids.Draw(t, "id"))
				m.remove(id)
				delete(want, id)
			},
			"": func(t *rapid.T) {
				begin := store.ID(ids.Draw(t, "begin"))
				var expected []store.ID
				for id := range want {
					if id >= begin {
						expected = append(expected, id)
					}
				}
				slices.Sort(expected)
				if found := m.from(begin); !slices.Equal(found, expected) {
					t.Fatalf("next from %d finds %v, want %v", begin, found, expected)
				}
				if m.length != len(want) {
					t.Fatalf("length = %d, want %d", m.length, len(want))
				}
			},
		})
	})
}
