package journal

import (
	"bytes"
	"flag"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/minio/highwayhash"
)

var damages = flag.Int("damages", 100, "random damages of each kind of journal that TestRandomDamage tries")

// tree is the files of a directory, by path.
type tree map[string][]byte

func readTree(t testing.TB, dir string) tree {
	t.Helper()
	all := tree{}
	if err := fs.WalkDir(os.DirFS(dir), ".", func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() && d.Name() != "lock" {
			all[path], err = os.ReadFile(filepath.Join(dir, path))
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return all
}

func (f tree) write(t testing.TB, dir string) {
	t.Helper()
	for path, content := range f {
		path = filepath.Join(dir, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// originalFrame is a frame of a file that is not damaged.
type originalFrame struct {
	file  string
	bytes []byte
	lines []string
}

// framesOf are the frames of a journal's segments. replaced are those that a compaction
// has replaced and not removed. The journal must not be damaged.
func framesOf(files tree) (all, replaced []originalFrame) {
	manifest, _ := parseState(files[manifestName])
	first := fileName(manifest.first)
	for _, name := range segmentNames(files) {
		scan(bytes.NewReader(files[name]), segmentFormat, func(frame []byte, _ int64) {
			lines := strings.Split(strings.TrimSuffix(string(frame[headerSize:]), "\n"), "\n")
			if f := (originalFrame{name, bytes.Clone(frame), lines}); name < first {
				replaced = append(replaced, f)
			} else {
				all = append(all, f)
			}
		})
	}
	return all, replaced
}

// How a journal was left.
const (
	stopped   = "stopped"
	killed    = "killed"               // during an append
	compacted = "killed in compaction" // before it removed what its snapshot replaces
)

// randomJournal writes a journal of several segments. name makes its lines distinct.
func randomJournal(t *testing.T, rng *rand.Rand, name, left string) (tree, []string) {
	dir := t.TempDir()
	var want []string
	for start := range 4 {
		j, _, _ := openQuick(t, dir)
		if start == 1 || start == 3 && left == compacted {
			before := readTree(t, dir)
			next := parts([][]byte{[]byte(strings.Join(want, "\n") + "\n")})
			if err := j.Compact(t.Context(), next); err != nil {
				t.Fatal(err)
			}
			if start == 3 {
				j.Close()
				files := readTree(t, dir)
				for _, name := range segmentNames(before) {
					files[name] = before[name]
				}
				return files, want
			}
		}
		for i := range 5 + rng.IntN(20) {
			var all [][]byte
			for k := range 1 + rng.IntN(3) {
				var frame []byte
				for n := range 1 + rng.IntN(5) {
					line := fmt.Sprintf("AT A +1.000000000 %s.%d.%d.%d.%d +34.068930-118.445127 1700000000", name, start, i, k, n)
					want = append(want, line)
					frame = append(append(frame, line...), '\n')
				}
				all = append(all, frame)
			}
			if err := j.Append(all); err != nil {
				t.Fatal(err)
			}
		}
		if start == 3 && left == killed {
			files := readTree(t, dir)
			j.Close()
			last := slices.Max(segmentNames(files))
			files[last] = append(files[last], files[last][:headerSize+rng.IntN(50)]...) // a frame that was not acknowledged
			return files, want
		}
		j.Close()
	}
	return readTree(t, dir), want
}

func segmentNames(files tree) (names []string) {
	for name := range files {
		if strings.HasPrefix(name, "segment-") {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// randomDamage damages files of a journal, and says how. The files are replaced, not
// changed in place.
func randomDamage(rng *rand.Rand, files, other tree, names []string) string {
	name := names[rng.IntN(len(names))]
	content := bytes.Clone(files[name])
	at := rng.IntN(len(content) + 1)
	switch kind := rng.IntN(8); kind {
	case 0:
		files[name] = content[:at]
		return fmt.Sprintf("%s cut at %d of %d", name, at, len(content))
	case 1, 2:
		if at == len(content) {
			return "none"
		}
		bit := rng.IntN(8)
		content[at] ^= 1 << bit
		files[name] = content
		return fmt.Sprintf("%s: bit %d of byte %d of %d flipped", name, bit, at, len(content))
	case 3:
		end := min(len(content), at+1+rng.IntN(2000))
		clear(content[at:end])
		files[name] = content
		return fmt.Sprintf("%s: hole from %d to %d of %d", name, at, end, len(content))
	case 4:
		delete(files, name)
		return name + " removed"
	case 5:
		second := names[rng.IntN(len(names))]
		if files[second] == nil || files[name] == nil {
			return "none"
		}
		files[name], files[second] = files[second], files[name]
		return name + " and " + second + " exchanged"
	case 6:
		theirs := names[rng.IntN(len(names))]
		if other[theirs] == nil {
			return "none"
		}
		files[name] = other[theirs]
		return name + " replaced by another journal's " + theirs
	default:
		end := min(len(content), at+rng.IntN(200))
		files[name] = slices.Concat(content[:at], content[end:])
		return fmt.Sprintf("%s: bytes from %d to %d of %d cut out", name, at, end, len(content))
	}
}

// TestRandomDamage: whatever happens to a journal's files, it opens, everything that is
// intact is read, and what is lost is reported with the file's name.
func TestRandomDamage(t *testing.T) {
	for _, left := range []string{stopped, killed, compacted} {
		t.Run(left, func(t *testing.T) {
			t.Parallel()
			rng := rand.New(rand.NewPCG(1, 2))
			var files, other tree
			lost, refused := 0, 0
			for i := range *damages {
				if i%1000 == 0 {
					files, _ = randomJournal(t, rng, "kiwi", left)
					other, _ = randomJournal(t, rng, "emu", stopped)
				}
				damaged := tree{}
				for name, content := range files {
					damaged[name] = content
				}
				names := slices.Sorted(func(yield func(string) bool) {
					for name := range files {
						if !yield(name) {
							return
						}
					}
				})
				var what []string
				for range min(i%1000, 1+rng.IntN(3)*rng.IntN(2)) { // none at first
					if d := randomDamage(rng, damaged, other, names); d != "none" {
						what = append(what, d)
					}
					names = slices.DeleteFunc(names, func(name string) bool { return damaged[name] == nil })
				}
				l, ok := openDamaged(t, files, other, damaged, strings.Join(what, ", "))
				if lost += l; !ok {
					refused++
				}
				if t.Failed() {
					return
				}
			}
			t.Logf("%d damages: %d starts refused, %d frames lost, all reported", *damages, refused, lost)
		})
	}
}

// openDamaged opens a journal with damaged files. It checks that all that is intact is
// read, that what is lost is reported, and that the journal works on. It returns the number
// of frames that are lost.
func openDamaged(t *testing.T, files, other, damaged tree, what string) (lost int, ok bool) {
	t.Helper()
	own, replaced := framesOf(files)
	theirs, _ := framesOf(other)
	dir, err := os.MkdirTemp("", "damage")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	damaged.write(t, dir)
	j := newJournal(dir)
	j.disk = quickDisk()
	lines, damage, err := replay(j)
	if err != nil {
		t.Errorf("%s: Open: %v", what, err)
		return 0, false
	}
	read := map[string]bool{}
	for _, line := range lines {
		read[line] = true
	}
	intact := func(f originalFrame) bool {
		for _, name := range segmentNames(damaged) {
			if bytes.Contains(damaged[name], f.bytes) {
				return true
			}
		}
		return false
	}
	all := strings.Join(damage, "\n")
	unsure := regexp.MustCompile(`the file (manifest|end) is`).MatchString(all)
	for _, f := range own {
		switch {
		case read[f.lines[0]]:
		case intact(f):
			t.Errorf("%s: a frame of %s is intact and was not read; damage %q", what, f.file, damage)
			return lost, true
		case len(damage) == 0 || !unsure && !strings.Contains(all, f.file):
			t.Errorf("%s: silent loss of a frame of %s; damage %q", what, f.file, damage)
			return lost, true
		default:
			lost++
		}
	}
	for _, f := range append(theirs, replaced...) {
		if !read[f.lines[0]] && intact(f) {
			t.Errorf("%s: a frame of another journal or a replaced segment is intact and was not read; damage %q", what, damage)
			return lost, true
		}
	}
	reported := 0
	for _, match := range regexp.MustCompile(`(\d+) of \d+ frames? (?:is|are) lost`).FindAllStringSubmatch(all, -1) {
		n, _ := strconv.Atoi(match[1])
		reported += n
	}
	if !unsure && (reported < lost || reported > lost && len(replaced) == 0) {
		t.Errorf("%s: %d frames are lost, %d are reported: %q", what, lost, reported, damage)
	}
	if what == "" && len(damage) > 0 {
		t.Errorf("nothing is damaged, but damage %q is reported", damage)
	}

	const later = "AT A +1.000000000 later +1+1 100"
	if err := j.Append([][]byte{[]byte(later + "\n")}); err != nil {
		t.Errorf("%s: Append: %v", what, err)
	}
	j.Close()
	j, again, damageAgain := openQuick(t, dir)
	for _, line := range append(lines, later) {
		if !slices.Contains(again, line) {
			t.Errorf("%s: %q was read at the first start and not at the second; damage %q, %q", what, line, damage, damageAgain)
			break
		}
	}
	if err := j.Compact(t.Context(), parts([][]byte{[]byte(strings.Join(again, "\n") + "\n")})); err != nil {
		t.Errorf("%s: Compact: %v", what, err)
	}
	j.Close()
	j, afterwards, damageAfter := openQuick(t, dir)
	j.Close()
	if !slices.Equal(slices.Compact(slices.Sorted(slices.Values(afterwards))), slices.Compact(slices.Sorted(slices.Values(again)))) || len(damageAfter) > 0 {
		t.Errorf("%s: after a compaction %d lines, damage %q, want the %d before it and none", what, len(afterwards), damageAfter, len(again))
	}
	left := readTree(t, dir)
	for _, match := range regexp.MustCompile(`kept as (\S+damaged(-\d+)?)`).FindAllStringSubmatch(all, -1) {
		kept := false
		for name := range left {
			kept = kept || name == match[1] || strings.HasPrefix(name, match[1]+"/")
		}
		if !kept {
			t.Errorf("%s: %s is gone after a compaction", what, match[1])
		}
	}
	return lost, true
}

// TestForeignJournal: another journal in a server's directory is used, and reported.
func TestForeignJournal(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	files, want := randomJournal(t, rng, "kiwi", stopped)
	other, theirs := randomJournal(t, rng, "emu", stopped)
	for name, content := range other {
		if name != manifestName && name != endName {
			name = strings.Replace(name, "segment-", "segment-1", 1)
			files[name] = content
		}
	}
	dir := t.TempDir()
	files.write(t, dir)
	j, lines, damage := open(t, dir)
	j.Close()
	for _, line := range append(want, theirs...) {
		if !slices.Contains(lines, line) {
			t.Fatalf("%q was not read; damage %q", line, damage)
		}
	}
	if !strings.Contains(strings.Join(damage, "\n"), "another journal's") {
		t.Errorf("damage %q, want that frames are another journal's", damage)
	}
}

// TestOldJournal: journals that a version with JetStream wrote are read to the last
// record, and written anew with the first compaction.
func TestOldJournal(t *testing.T) {
	for _, name := range []string{"clean", "killed", "compacted"} {
		t.Run(name, func(t *testing.T) {
			files := readTree(t, filepath.Join("testdata", "jetstream", name))
			want := strings.Split(strings.TrimSuffix(string(files["records.txt"]), "\n"), "\n")
			delete(files, "records.txt")
			dir := t.TempDir()
			files.write(t, dir)
			for start := range 3 {
				j, lines, damage := open(t, dir)
				if len(damage) > 0 {
					t.Errorf("start %d: damage %q", start, damage)
				}
				for _, line := range want {
					if !slices.Contains(lines, line) {
						t.Fatalf("start %d: %q was not read", start, line)
					}
				}
				if needs := j.NeedsCompaction(1 << 30); needs != (start < 2) {
					t.Errorf("start %d: NeedsCompaction = %v", start, needs)
				}
				if start == 1 {
					if err := j.Compact(t.Context(), parts([][]byte{[]byte(strings.Join(want, "\n") + "\n")})); err != nil {
						t.Fatal(err)
					}
				}
				j.Close()
			}
			for path := range readTree(t, dir) {
				if strings.HasPrefix(path, oldName) || path == oldMark {
					t.Errorf("%s is left", path)
				}
			}
		})
	}
}

// oldJournal makes the files of a journal of an older version, of several blocks.
func oldJournal(t *testing.T, rng *rand.Rand) (files tree, want map[string][]string) {
	files, want = tree{}, map[string][]string{}
	seq := uint64(0)
	for block := range 4 {
		name := fmt.Sprintf("stream/jetstream/$G/streams/journal/msgs/%d.blk", block+1)
		h, err := highwayhash.New64(oldKey(block + 1))
		if err != nil {
			t.Fatal(err)
		}
		var content []byte
		for i := range 5 + rng.IntN(20) {
			line := fmt.Sprintf("AT A +1.000000000 kiwi.%d.%d +34.068930-118.445127 1700000000", block, i)
			want[name] = append(want[name], line)
			seq++
			at := len(content)
			content = little.AppendUint32(content, uint32(22+len(oldSubject)+len(line)+1+8))
			content = little.AppendUint64(content, seq)
			content = little.AppendUint64(content, 1700000000)
			content = little.AppendUint16(content, uint16(len(oldSubject)))
			content = append(append(append(content, oldSubject...), line...), '\n')
			h.Reset()
			h.Write(content[at+4 : at+20])
			h.Write(content[at+22:])
			content = little.AppendUint64(content, h.Sum64())
		}
		files[name] = content
	}
	files[oldMark] = fmt.Appendf(nil, "%020d %020d\n", 1, seq)
	return files, want
}

// TestOldDamage: the same as TestRandomDamage for the blocks of an older version.
func TestOldDamage(t *testing.T) {
	t.Parallel()
	rng := rand.New(rand.NewPCG(5, 6))
	files, want := oldJournal(t, rng)
	var names []string
	for name := range files {
		if name != oldMark {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	lost := 0
	for range *damages / 2 {
		damaged := tree{}
		for name, content := range files {
			damaged[name] = content
		}
		what := randomDamage(rng, damaged, nil, names)
		dir, err := os.MkdirTemp("", "damage")
		if err != nil {
			t.Fatal(err)
		}
		damaged.write(t, dir)
		j, lines, damage := openQuick(t, dir)
		all := strings.Join(damage, "\n")
		here := 0
		for _, name := range names {
			for _, line := range want[name] {
				if slices.Contains(lines, line) {
					continue
				}
				if here++; len(damage) == 0 {
					t.Fatalf("%s: silent loss of %q", what, line)
				}
			}
		}
		switch {
		case here == 0 && len(damage) > 0:
			t.Errorf("%s: nothing is lost, but damage %q is reported", what, damage)
		case strings.Contains(what, "flipped") && here > 1:
			t.Errorf("%s: %d lines are lost, want 1 at most; damage %q", what, here, damage)
		case here > 0 && !strings.Contains(all, fmt.Sprintf("stream: %d of ", here)):
			t.Errorf("%s: damage %q, want that %d frames are lost", what, damage, here)
		}
		if err := j.Compact(t.Context(), parts([][]byte{[]byte("the map\n")})); err != nil {
			t.Errorf("%s: Compact: %v", what, err)
		}
		j.Close()
		_, err = os.Stat(filepath.Join(dir, oldName+".damaged"))
		if kept := err == nil; kept != (here > 0) {
			t.Errorf("%s: %d lines lost, stream kept: %v", what, here, kept)
		}
		os.RemoveAll(dir)
		lost += here
	}
	t.Logf("%d damages: %d lines lost, all reported", *damages/2, lost)
}
