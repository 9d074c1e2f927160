package journal

import (
	"bytes"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"herd/bus/plural"
)

// report describes the damage of segments, renames the damaged files, and removes what is
// no longer needed.
func (r *reading) report() {
	j := r.Journal
	j.size = j.old.bytes
	present := map[uint64]bool{}
	var leftovers []diskFile
	for i := range r.files {
		f := &r.files[i]
		if f.damaged && f.number < r.manifest.first {
			continue
		}
		present[f.number] = true
		if r.dropped(f) {
			leftovers = append(leftovers, f.diskFile)
			continue
		}
		name := fileName(f.number)
		wrong, keep := r.faults(f)
		if keep {
			wrong = append(wrong, r.setAside(f))
		}
		if len(wrong) > 0 {
			r.damage = append(r.damage, fmt.Sprintf("%s: %s", name, strings.Join(wrong, ", ")))
		}
		if f.bytes == 0 && !f.damaged {
			r.remove(f.path)
			continue
		}
		j.files = append(j.files, f.diskFile)
		j.size += f.bytes
	}
	for _, number := range slices.Sorted(maps.Keys(r.tallies)) {
		t := r.tallies[number]
		if lost := t.lost(); lost > 0 && !present[number] {
			r.damage = append(r.damage, fmt.Sprintf("%s is missing: %s", fileName(number), framesLost(lost, t.want.frames)))
		}
	}
	for _, f := range leftovers {
		if len(r.damage) == 0 || f.bytes == 0 {
			r.remove(f.path)
			continue
		}
		// What is lost of the snapshot may be in it. The next compaction drops it.
		j.files = append(j.files, f)
		j.size += f.bytes
	}
	for _, name := range []string{partialName, oldGone} {
		if slices.Contains(r.names, name) {
			r.remove(filepath.Join(j.cfg.Dir, name))
		}
	}
}

// remove removes what is no longer needed. The next start tries again.
func (r *reading) remove(path string) {
	if err := r.disk.removeAll(path); err != nil {
		r.cfg.Log.Warn("journal: a file that is not needed was not removed", "file", path, "err", err)
	}
}

// dropped reports whether a compaction has replaced all that is in a file, and has not
// removed it: it was killed, or failed to.
func (r *reading) dropped(f *segmentFile) bool {
	return f.number < r.manifest.first && !f.damaged && len(f.foreign) == 0 && (len(f.own) > 0 || f.bytes == 0) &&
		slices.Max(append(f.own, 0)) < r.manifest.first
}

// faults says what is wrong with a file, and whether it must be kept.
func (r *reading) faults(f *segmentFile) (wrong []string, keep bool) {
	t := r.tally(f.number)
	lost := t.lost()
	bad := f.bad
	if t.listed && lost == 0 { // what lies behind the frames that count was never acknowledged
		bad = slices.DeleteFunc(slices.Clone(bad), func(s span) bool { return s.from >= t.want.bytes })
	}
	if lost > 0 {
		wrong = append(wrong, framesLost(lost, t.want.frames))
	}
	if len(bad) > 0 {
		wrong = append(wrong, describe(bad))
	} else if lost > 0 && f.bytes < t.want.bytes {
		wrong = append(wrong, fmt.Sprintf("it ends at byte %d of %d", f.bytes, t.want.bytes))
	}
	for id, n := range f.foreign {
		wrong = append(wrong, fmt.Sprintf("%s %s another journal's (ID %016x), their records are used", plural.Count(n, "frame"), plural.Form(n, "is", "are"), id))
	}
	keep = len(wrong) > 0
	for _, number := range f.own {
		if number != f.number {
			wrong = append(wrong, fmt.Sprintf("it has frames of %s, their records are used", fileName(number)))
		}
	}
	return wrong, keep
}

// framesLost says how many frames of a file are lost.
func framesLost[N plural.Integer](lost, total N) string {
	return plural.Of(lost, total, "frame") + plural.Form(lost, " is", " are") + " lost"
}

// setAside renames a damaged file, and says so.
func (r *reading) setAside(f *segmentFile) string {
	name := filepath.Base(f.path)
	if f.damaged {
		return "it is kept as " + name
	}
	number := f.number
	if number < r.manifest.first { // else the next start would take it for replaced, and not read it
		number = r.next
		r.next++
		name = fileName(number)
	}
	aside := unusedName(r.names, name+".damaged")
	f.damaged = true // also if the renaming fails: it is kept
	if err := r.disk.rename(f.path, filepath.Join(r.cfg.Dir, aside)); err != nil {
		return fmt.Sprintf("it is kept under its name: %v", err)
	}
	f.number, f.path = number, filepath.Join(r.cfg.Dir, aside)
	return "it is kept as " + aside
}

// describe says which parts of a file are no valid frames.
func describe(bad []span) string {
	const most = 3
	var b bytes.Buffer
	for i, s := range bad[:min(most, len(bad))] {
		if i > 0 {
			b.WriteString(" and ")
		}
		fmt.Fprintf(&b, "bytes %d to %d", s.from, s.to)
	}
	if len(bad) > most {
		fmt.Fprintf(&b, " and %s", plural.Count(len(bad)-most, "more part"))
	}
	return b.String() + " are unreadable"
}
