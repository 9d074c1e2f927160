package store

import (
	"bytes"
	"testing"

	"pgregory.net/rapid"
)

// TestArena holds the arena against a plain list of lines, of sizes about the
// borders of classes and of what is small: no line ever changes another.
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

// TestArenaUsesAgain: lines that grow and shrink for ever take no more than they
// did the first time.
func TestArenaUsesAgain(t *testing.T) {
	const lines = 1000
	var a arena
	var refs [lines]ref
	lengths := []int{80, 100, 2000, 90, chunkSize + 1}
	for i := range refs {
		refs[i] = a.add(make([]byte, lengths[0]))
	}
	once := 0
	for round := 1; round < 50; round++ {
		was, is := lengths[(round-1)%len(lengths)], lengths[round%len(lengths)]
		for i := range refs {
			refs[i] = a.replace(refs[i], uint32(was), make([]byte, is))
		}
		if round == len(lengths) {
			once = len(a.chunks)
		}
	}
	if len(a.chunks) != once {
		t.Errorf("%d chunks after 50 rounds, %d after the first", len(a.chunks), once)
	}
}
