package journal

import (
	"cmp"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/gofrs/flock"
)

// Open opens the journal, or creates it, and calls take for each frame in it. Damage is
// not an error: Open uses everything that it can read, and damage describes what is
// missing or wrong. Damaged files are renamed, and kept. An I/O error, also a lack of
// room, descriptors or permission, is no damage: Open returns it and leaves the journal as
// it was. The error is ErrInUse if another process has the journal open, and ErrForeign if it
// is the journal of another server or prefix; take is not called then.
func (j *Journal) Open(take func(frame []byte)) (damage []string, err error) {
	if err := os.MkdirAll(j.cfg.Dir, 0o700); err != nil {
		return nil, explain(j.cfg.Dir, err)
	}
	j.lock = flock.New(filepath.Join(j.cfg.Dir, "lock"))
	switch locked, err := j.lock.TryLock(); {
	case err != nil:
		return nil, explain(j.cfg.Dir, fmt.Errorf("lock: %w", err))
	case !locked:
		return nil, fmt.Errorf("%s: %w", j.cfg.Dir, ErrInUse)
	}
	r := reading{Journal: j, take: take, tallies: map[uint64]*tally{}}
	r.manifest.name, r.end.name = manifestName, endName
	if err = r.read(); err == nil {
		err = r.begin()
	}
	if err != nil {
		return nil, explain(j.cfg.Dir, errors.Join(err, j.lock.Unlock()))
	}
	return r.damage, nil
}

// reading is what an Open has found.
type reading struct {
	*Journal
	take func(frame []byte)

	names         []string // in the directory
	manifest, end stateFile
	files         []segmentFile
	tallies       map[uint64]*tally // by segment
	stream        oldStream
	damage        []string
}

// stateFile is the manifest or the end.
type stateFile struct {
	state          // zero if the file is missing or cannot be used
	name    string // of the file
	content []byte
	wrong   string // why it cannot be used
}

// segmentFile is a file of frames.
type segmentFile struct {
	diskFile
	bad     []span
	own     []uint64          // the segments of this journal of which it has frames
	foreign map[uint64]uint64 // number of frames of other journals
}

// tally is what was listed and what was found of a segment.
type tally struct {
	listed bool
	want   segment
	seen   []uint64 // a bit for each frame
	found  segment  // up to the last frame that was found
}

// add adds a frame that ends at an offset.
func (t *tally) add(number uint32, end int64) {
	for len(t.seen) <= int(number/64) {
		t.seen = append(t.seen, 0)
	}
	t.seen[number/64] |= 1 << (number % 64)
	if frames := int64(number) + 1; frames > t.found.frames {
		t.found.frames, t.found.bytes = frames, end
	}
}

// lost is the number of frames that were listed and not found.
func (t *tally) lost() (n int64) {
	for i := range t.want.frames {
		if i/64 >= int64(len(t.seen)) {
			return n + t.want.frames - i
		}
		if t.seen[i/64]&(1<<(i%64)) == 0 {
			n++
		}
	}
	return n
}

func (r *reading) tally(number uint64) *tally {
	t := r.tallies[number]
	if t == nil {
		t = &tally{want: segment{number: number}, found: segment{number: number}}
		r.tallies[number] = t
	}
	return t
}

// read reads everything. It changes nothing.
func (r *reading) read() (err error) {
	if r.names, err = r.disk.names(r.cfg.Dir); err != nil {
		return err
	}
	if err := r.findFiles(); err != nil {
		return err
	}
	if err := r.readStates(); err != nil {
		return err
	}
	if err := r.checkOwner(); err != nil {
		return err
	}
	expected := r.manifest.old || r.manifest.id == 0 && slices.Contains(r.names, oldMark)
	stream, damage, err := r.readOld(expected, r.take)
	if err != nil {
		return err
	}
	r.stream, r.damage = stream, append(r.damage, damage...)
	for i := range r.files {
		if err := r.readSegment(&r.files[i]); err != nil {
			return err
		}
	}
	return nil
}

// findFiles finds the files of segments, also those that were set aside.
func (r *reading) findFiles() error {
	for _, name := range r.names {
		rest, ok := strings.CutPrefix(name, "segment-")
		digits, suffix, isSegment := strings.Cut(rest, ".log")
		damaged := strings.HasPrefix(suffix, ".damaged")
		number, err := strconv.ParseUint(digits, 10, 63)
		if ok && isSegment && err == nil && (suffix == "" || damaged) {
			r.files = append(r.files, segmentFile{diskFile: diskFile{number: number, path: filepath.Join(r.cfg.Dir, name), damaged: damaged}})
		}
	}
	slices.SortFunc(r.files, func(a, b segmentFile) int {
		return cmp.Or(cmp.Compare(a.number, b.number), strings.Compare(a.path, b.path))
	})
	return nil
}

// readStates reads the manifest and the end, and decides which journal this is.
func (r *reading) readStates() error {
	votes := map[uint64]int{}
	for i := range r.files {
		if id, err := r.peek(&r.files[i]); err != nil {
			return err
		} else if id != 0 {
			votes[id]++
		}
	}
	both := []*stateFile{&r.manifest, &r.end}
	for _, s := range both {
		if err := r.readState(s); err != nil {
			return err
		}
		if s.id != 0 {
			votes[s.id]++
		}
	}
	r.id = r.manifest.id
	for id, n := range votes {
		if n > votes[r.id] {
			r.id = id
		}
	}
	for _, s := range both {
		if s.id != 0 && s.id != r.id {
			s.wrong = fmt.Sprintf("is another journal's (ID %016x, not %016x)", s.id, r.id)
			s.state = state{}
		}
	}
	r.compareStates()
	for _, s := range append(slices.Clone(r.manifest.segments), r.end.segments...) {
		if t := r.tally(s.number); s.frames >= t.want.frames && s.number >= r.manifest.first {
			t.want, t.listed = s, true
		}
	}
	return nil
}

func (r *reading) readState(s *stateFile) (err error) {
	s.content, err = r.readFile(s.name)
	if err != nil || len(s.content) == 0 { // missing, or just created
		return err
	}
	s.state, err = parseState(s.content)
	switch {
	case errors.Is(err, errNewer):
		return fmt.Errorf("read %s: %w", s.name, err)
	case err != nil || (s == &r.manifest) != (s.first > 0): // or the two were exchanged
		s.state, s.wrong = state{}, "is damaged"
	}
	return nil
}

// checkOwner refuses the journal of another server or of another herd: clients of one would
// be merged into the other.
func (r *reading) checkOwner() error {
	m := r.manifest
	if m.id != 0 && r.cfg.Server != "" && (m.prefix != r.cfg.Prefix || m.server != r.cfg.Server) {
		return fmt.Errorf("%w: it is that of server %q with prefix %q, not of server %q with prefix %q", ErrForeign, m.server, m.prefix, r.cfg.Server, r.cfg.Prefix)
	}
	return nil
}

// compareStates reports a manifest and an end that do not belong together.
func (r *reading) compareStates() {
	m, e := r.manifest, r.end
	report := func(text string, args ...any) { r.damage = append(r.damage, fmt.Sprintf(text, args...)) }
	switch {
	case m.id == 0 && m.wrong == "" && (e.id != 0 || r.hasFrames()) && !r.unborn():
		report("the file %s is missing", manifestName)
	case m.id != 0 && e.id == 0 && e.wrong == "":
		report("the file %s is missing: frames may be missing at the end", endName)
	case m.id != 0 && e.id != 0 && e.run < m.run:
		report("the file %s is older than the file %s: frames may be missing at the end", endName, manifestName)
	}
}

// unborn reports whether the journal's first Open was killed before it wrote the manifest.
func (r *reading) unborn() bool {
	for _, g := range r.end.segments {
		if g.frames > 0 {
			return false
		}
	}
	return r.end.run <= 1 && !r.hasFrames()
}

// hasFrames reports whether there is a segment that is not empty.
func (r *reading) hasFrames() bool {
	return slices.ContainsFunc(r.files, func(f segmentFile) bool { return f.bytes > 0 })
}

// peek returns the journal that the first frame of a file belongs to, or 0. It also sees
// whether the file is empty.
func (r *reading) peek(f *segmentFile) (id uint64, err error) {
	file, err := r.disk.read(f.path)
	if err != nil {
		return 0, err
	}
	defer file.Close()
	w := window{r: file}
	if err := w.fill(headerSize); err != nil {
		return 0, fmt.Errorf("read %s: %w", f.path, err)
	}
	f.bytes = int64(len(w.rest()))
	if len(w.rest()) < headerSize || segmentFormat.size(w.rest()) == 0 {
		return 0, nil
	}
	return parseHeader(w.rest()).journal, nil
}

// readSegment reads the frames of a file. One that was set aside and is not in use any
// more is left alone.
func (r *reading) readSegment(f *segmentFile) error {
	if f.damaged && f.number < r.manifest.first {
		return nil
	}
	file, err := r.disk.read(f.path)
	if err != nil {
		return err
	}
	defer file.Close()
	f.bad, f.bytes, err = scan(file, segmentFormat, func(frame []byte, offset int64) {
		r.take(frame[headerSize:])
		id := parseHeader(frame)
		if id.journal != r.id {
			if f.foreign == nil {
				f.foreign = map[uint64]uint64{}
			}
			f.foreign[id.journal]++
			return
		}
		r.tally(id.segment).add(id.number, offset+int64(len(frame)))
		if !slices.Contains(f.own, id.segment) {
			f.own = append(f.own, id.segment)
		}
	})
	if err != nil {
		return fmt.Errorf("read %s: %w", f.path, err)
	}
	return nil
}

// begin makes the journal ready for news. Only at its end it touches what was there.
func (r *reading) begin() (err error) {
	j := r.Journal
	if j.id == 0 {
		var id [8]byte
		rand.Read(id[:])
		j.id = little.Uint64(id[:])
	}
	j.run = max(r.manifest.run, r.end.run) + 1
	last := max(r.manifest.first, 1) - 1
	for _, number := range slices.Sorted(maps.Keys(r.tallies)) {
		t := r.tallies[number]
		g := segment{number, max(t.want.frames, t.found.frames), max(t.want.bytes, t.found.bytes)}
		if last = max(last, number); number >= r.manifest.first && g.frames > 0 {
			j.older = append(j.older, g)
		}
	}
	for _, f := range r.files {
		last = max(last, f.number)
	}
	j.next = last + 1
	if err := r.create(); err != nil {
		return err
	}
	r.report()
	j.urgent = len(r.damage) > 0 || r.stream.found
	return nil
}

// create creates the active segment and writes the end and the manifest.
func (r *reading) create() (err error) {
	j := r.Journal
	number := j.next
	j.next++
	j.active, j.unlisted = segment{number: number}, j.older
	if j.file, err = j.disk.open(j.path(number), os.O_CREATE|os.O_EXCL); err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, j.file.Close(), j.disk.remove(j.path(number)))
			if j.end != nil {
				err = errors.Join(err, j.end.Close())
			}
			j.file, j.end = nil, nil
		}
	}()
	if err := r.keepStates(); err != nil {
		return err
	}
	end, err := j.disk.open(filepath.Join(j.cfg.Dir, endName), os.O_CREATE)
	if err != nil {
		return err
	}
	j.end = end
	if err := errors.Join(j.writeEnd(), j.end.Sync()); err != nil {
		return err
	}
	first := max(r.manifest.first, 1)
	if _, err := j.writeManifest(state{
		id: j.id, run: j.run, first: first, prefix: j.cfg.Prefix, server: j.cfg.Server, old: r.stream.found || r.stream.damaged, segments: j.older,
	}); err != nil {
		return err
	}
	j.unlisted, j.old = nil, r.stream
	return nil
}

// keepStates copies a manifest and an end that cannot be used: they will be overwritten.
func (r *reading) keepStates() error {
	for _, s := range []*stateFile{&r.manifest, &r.end} {
		if s.wrong == "" {
			continue
		}
		aside := s.name + ".damaged" // replaced by the next one that is damaged
		if err := r.writeFile(aside, s.content); err != nil {
			return err
		}
		r.damage = append(r.damage, fmt.Sprintf("the file %s %s; it is kept as %s", s.name, s.wrong, aside))
	}
	return nil
}
