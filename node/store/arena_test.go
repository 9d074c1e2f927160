package store

import (
	"bytes"
	"testing"

	"pgregory.net/rapid"
)

// TestArena compares the arena with a list of lines: storing a line never changes another.
// The sizes are near the limits of size classes and of small lines.
func TestArena(t *testing.T) {
	size := rapid.OneOf(rapid.IntRange(1, 3*classSize), rapid.IntRange(classes*classSize-classSize, classes*classSize+2*classSize), rapid.Just(3*chunkSize))
	line := rapid.Custom(func(t *rapid.T) []byte {
		return bytes.Repeat([]byte{rapid.Byte().Draw(t, "byte")}, size.Draw(t, "size"))
	})
	rapid.Check(t, func(t *rapid.T) {
		var a arena
		var refs []ref
		var lines [][]byte
		t.Repeat(map[string]func(*rapid.T){
			"add": func(t *rapid.T) {
				l := line.Draw(t, "line")
				refs, lines = append(refs, a.add(l)), append(lines, l)
			},
			"replace": func(t *rapid.T) {
				if len(lines) == 0 {
					t.Skip("nothing to replace")
				}
				i, l := rapid.IntRange(0, len(lines)-1).Draw(t, "which"), line.Draw(t, "line")
				refs[i] = a.replace(refs[i], uint32(len(lines[i])), l)
				lines[i] = l
			},
			"": func(t *rapid.T) {
				for i, l := range lines {
					if refs[i] == 0 || !bytes.Equal(a.at(refs[i], uint32(len(l))), l) {
						t.Fatalf("line %d at %x is %x, want %x", i, refs[i], a.at(refs[i], uint32(len(l))), l)
					}
				}
			},
		})
	})
}

// TestArenaReusesMemory: after each line has had every size once, lines that grow and
// shrink take no more memory.
func TestArenaReusesMemory(t *testing.T) {
	const lines = 1000
	var a arena
	var refs [lines]ref
	lengths := []int{80, 100, 2000, 90, chunkSize + 1}
	for i := range refs {
		refs[i] = a.add(make([]byte, lengths[0]))
	}
	afterFirst := 0
	for round := 1; round < 50; round++ {
		was, is := lengths[(round-1)%len(lengths)], lengths[round%len(lengths)]
		for i := range refs {
			refs[i] = a.replace(refs[i], uint32(was), make([]byte, is))
		}
		if round == len(lengths) {
			afterFirst = len(a.chunks)
		}
	}
	if len(a.chunks) != afterFirst {
		t.Errorf("%d chunks after 50 rounds, want %d, the number after the first of each size", len(a.chunks), afterFirst)
	}
}
