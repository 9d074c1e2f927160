package journal

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/cespare/xxhash/v2"
)

// framesIn are the frames of a file, found in the plainest way: a frame is tried at every
// byte, and behind a frame at its end.
func framesIn(content []byte) (frames [][]byte, bad []span) {
	for i := 0; i < len(content); {
		size := 0
		if rest := content[i:]; len(rest) >= headerSize {
			size = segmentFormat.size(rest[:headerSize])
		}
		if size > 0 && size <= len(content)-i && segmentFormat.valid(content[i:i+size]) {
			frames = append(frames, content[i:i+size])
			i += size
			continue
		}
		if len(bad) == 0 || bad[len(bad)-1].to != int64(i) {
			bad = append(bad, span{int64(i), int64(i)})
		}
		bad[len(bad)-1].to++
		i++
	}
	return frames, bad
}

// inPieces reads a few bytes at a time.
type inPieces struct {
	r    *bytes.Reader
	size int
}

func (p inPieces) Read(b []byte) (int, error) { return p.r.Read(b[:min(len(b), p.size)]) }

// writtenFiles are the files of a journal that was stopped, and then killed in its second
// run.
func writtenFiles(t testing.TB) (files tree, segments []string) {
	dir := t.TempDir()
	for run := range 2 {
		j, _, _ := openQuick(t, dir)
		for i := range 3 {
			lines := fmt.Appendf(nil, "AT A +1.000000000 kiwi%d.%d +34.068930-118.445127 1700000000\n", run, i)
			if err := j.Append([][]byte{lines, bytes.Repeat(lines, 2)}); err != nil {
				t.Fatal(err)
			}
		}
		files = readTree(t, dir)
		j.Close()
	}
	return files, segmentNames(files)
}

// FuzzScan: in any content, read in pieces of any size, scan finds the frames that the
// plain search finds, and the same spans between them.
func FuzzScan(f *testing.F) {
	files, segments := writtenFiles(f)
	first, second := files[segments[0]], files[segments[1]]
	f.Add(first, uint16(0))
	f.Add(slices.Concat(second, first[7:]), uint16(3))
	f.Add(slices.Concat(first[:60], second, frameMarker, first[:30]), uint16(50))
	f.Add(slices.Concat(appendFrame(nil, frameID{1, 2, 3}, first), frameMarker[:2], appendFrame(nil, frameID{1, 2, 4}, nil)), uint16(1))
	f.Fuzz(func(t *testing.T, content []byte, piece uint16) {
		var frames [][]byte
		bad, size, err := scan(inPieces{bytes.NewReader(content), 1 + int(piece)}, segmentFormat, func(frame []byte, offset int64) {
			if !bytes.Equal(content[offset:offset+int64(len(frame))], frame) {
				t.Fatalf("the frame at %d is not what is there", offset)
			}
			frames = append(frames, bytes.Clone(frame))
		})
		if err != nil || size != int64(len(content)) {
			t.Fatalf("scan: size %d of %d, %v", size, len(content), err)
		}
		wantFrames, wantBad := framesIn(content)
		if !slices.EqualFunc(frames, wantFrames, bytes.Equal) || !slices.Equal(bad, wantBad) {
			t.Fatalf("scan found %d frames and bad spans %v, want %d and %v", len(frames), bad, len(wantFrames), wantBad)
		}
	})
}

// FuzzOpen: a journal whose files have any content opens, unless a newer version wrote it.
// Every valid frame is read, and damaged content is kept until a compaction. What was read
// once is read again, with what was appended.
func FuzzOpen(f *testing.F) {
	files, segments := writtenFiles(f)
	first, second, manifest, end := files[segments[0]], files[segments[1]], files[manifestName], files[endName]
	f.Add(first, second, manifest, end)
	f.Add(first[:len(first)-9], second, manifest, []byte{})
	f.Add(slices.Concat(first[:50], first[51:]), first, []byte("junk"), end)
	f.Add([]byte{}, slices.Concat(second, second[:headerSize+2]), end, manifest)
	f.Add(first, second, bytes.Replace(manifest, []byte("journal 1"), []byte("journal 9"), 1), end)
	f.Add(first, second, bytes.Replace(manifest, []byte("first 1"), []byte("first 9"), 1), bytes.Replace(end, []byte(" 6 "), []byte(" 99999999999 "), 1))
	f.Fuzz(func(t *testing.T, first, second, manifest, end []byte) {
		dir, err := os.MkdirTemp("", "fuzz") // t.TempDir would be slow
		if err != nil {
			t.Fatal(err)
		}
		defer os.RemoveAll(dir)
		given := tree{fileName(1): first, fileName(2): second, manifestName: withSum(manifest), endName: withSum(end)}
		given.write(t, dir)
		j := newJournal(dir)
		j.disk = quickDisk()
		lines, damage, err := replay(j)
		if err != nil {
			if !errors.Is(err, errNewer) {
				t.Fatalf("Open: %v", err)
			}
			left := readTree(t, dir)
			for name, content := range given {
				if !bytes.Equal(left[name], content) {
					t.Fatalf("%s was changed by an Open that failed", name)
				}
			}
			return
		}
		m, _ := parseState(given[manifestName])
		replaced := m.first > 1 // by a snapshot, it says: they may be removed
		for _, name := range []string{fileName(1), fileName(2)} {
			frames, bad := framesIn(given[name])
			for _, frame := range frames {
				for line := range strings.Lines(string(frame[headerSize:])) {
					if !slices.Contains(lines, strings.TrimSuffix(line, "\n")) {
						t.Fatalf("%q of a valid frame of %s was not read; damage %q", line, name, damage)
					}
				}
			}
			if len(bad) > 0 && !replaced && !isKept(readTree(t, dir), given[name]) {
				t.Fatalf("%s has bytes that are no frames, %v, and is not kept; damage %q", name, bad, damage)
			}
		}
		const later = "AT A +1.000000000 later +1+1 100"
		if err := j.Append([][]byte{[]byte(later + "\n")}); err != nil {
			t.Fatalf("Append: %v", err)
		}
		j.Close()
		j, again, damageAgain := openQuick(t, dir)
		defer j.Close()
		if replaced {
			lines = nil
		}
		for _, line := range append(lines, later) {
			if !slices.Contains(again, line) {
				t.Fatalf("%q was read at the first start and not at the second; damage %q, %q", line, damage, damageAgain)
			}
		}
	})
}

// isKept reports whether some file has that content.
func isKept(files tree, content []byte) bool {
	for _, c := range files {
		if bytes.Equal(c, content) {
			return true
		}
	}
	return false
}

// withSum makes the checksum of a manifest or an end right, if there is one: else the
// fuzzer would never get behind it.
func withSum(text []byte) []byte {
	body, _, ok := bytes.Cut(text, []byte("\nsum "))
	if !ok {
		return text
	}
	body = append(slices.Clone(body), '\n')
	return fmt.Appendf(body, "sum %016x\n", xxhash.Sum64(body))
}
