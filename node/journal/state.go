package journal

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/cespare/xxhash/v2"
)

const (
	manifestName = "manifest" // replaced as a whole, at each start and compaction
	endName      = "end"      // overwritten in place, after each append

	// stateFormat is the format of the journal: that of its records, too (wire.Format). Format 1 had no
	// tombstones, and is read.
	stateFormat      = 2
	firstStateFormat = 1
)

// segment is what is known of a segment: what must be found in its file.
type segment struct {
	number uint64
	frames int64
	bytes  int64
}

// state is the content of the files manifest and end: lines of text and a checksum. They
// say what must be there, so that it is noticed when something is missing. The manifest
// has the segments that get no more frames. The end has the last segment, which gets
// them, and those before it that are not in the manifest yet.
type state struct {
	id       uint64 // of the journal, random
	run      uint64 // number of the start that wrote it
	first    uint64 // lowest number of the segments in use; manifest only
	prefix   string // of the herd; manifest only
	server   string // manifest only
	old      bool   // the stream of an older version is a part of the journal; manifest only
	segments []segment
}

var (
	errDamaged = errors.New("it is damaged")
	errNewer   = errors.New("a newer version of this program wrote it")
)

func (s *state) append(dst []byte) []byte {
	at := len(dst)
	dst = fmt.Appendf(dst, "herd journal %d\nid %016x\nrun %d\n", stateFormat, s.id, s.run)
	if s.first > 0 {
		dst = fmt.Appendf(dst, "first %d\nprefix %q\nserver %q\n", s.first, s.prefix, s.server)
	}
	if s.old {
		dst = append(dst, "old stream\n"...)
	}
	for _, g := range s.segments {
		dst = append(dst, "segment "...)
		dst = append(strconv.AppendUint(dst, g.number, 10), ' ')
		dst = append(strconv.AppendInt(dst, g.frames, 10), ' ')
		dst = append(strconv.AppendInt(dst, g.bytes, 10), '\n')
	}
	return fmt.Appendf(dst, "sum %016x\n", xxhash.Sum64(dst[at:]))
}

// parseState parses what append made. Text behind it is ignored: the end may have been
// longer before.
func parseState(text []byte) (s state, err error) {
	version, _, _ := bytes.Cut(text, []byte("\n"))
	body, sum, ok := bytes.Cut(text, []byte("\nsum "))
	body = text[:min(len(text), len(body)+1)] // with its LF
	if len(sum) < 17 || sum[16] != '\n' || !ok || string(sum[:16]) != fmt.Sprintf("%016x", xxhash.Sum64(body)) {
		return s, errDamaged
	}
	if v := string(version); v != fmt.Sprintf("herd journal %d", stateFormat) && v != fmt.Sprintf("herd journal %d", firstStateFormat) {
		return s, errNewer
	}
	for line := range strings.Lines(string(body)) {
		key, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
		switch key {
		case "id":
			_, err = fmt.Sscanf(value, "%x", &s.id)
		case "run":
			_, err = fmt.Sscan(value, &s.run)
		case "first":
			_, err = fmt.Sscan(value, &s.first)
		case "prefix":
			s.prefix, err = strconv.Unquote(value)
		case "server":
			s.server, err = strconv.Unquote(value)
		case "old":
			s.old = true
		case "segment":
			var g segment
			_, err = fmt.Sscan(value, &g.number, &g.frames, &g.bytes)
			s.segments = append(s.segments, g)
		}
		if err != nil {
			return s, errDamaged
		}
	}
	return s, nil
}

// readFile reads a file into memory. A missing file is nil.
func (j *Journal) readFile(name string) ([]byte, error) {
	f, err := j.disk.read(filepath.Join(j.cfg.Dir, name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(f)
	if text == nil {
		text = []byte{}
	}
	return text, err
}

// writeFile creates a file and waits until its content is on the disk. After an error
// there is no such file.
func (j *Journal) writeFile(name string, content []byte) error {
	path := filepath.Join(j.cfg.Dir, name)
	f, err := j.disk.open(path, createEmpty)
	if err != nil {
		return err
	}
	if _, err = f.WriteAt(content, 0); err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		j.disk.remove(path)
	}
	return err
}

// writeManifest replaces the manifest. replaced says whether it may have been replaced,
// also after an error.
func (j *Journal) writeManifest(s state) (replaced bool, err error) {
	const temporary = manifestName + ".new"
	if err := j.writeFile(temporary, s.append(nil)); err != nil {
		return false, err
	}
	temporaryPath := filepath.Join(j.cfg.Dir, temporary)
	if err := j.disk.rename(temporaryPath, filepath.Join(j.cfg.Dir, manifestName)); err != nil {
		j.disk.remove(temporaryPath)
		return true, err
	}
	return true, j.disk.syncDir(j.cfg.Dir)
}

// writeEnd overwrites the end.
func (j *Journal) writeEnd() error {
	s := state{id: j.id, run: j.run, segments: append(j.segments[:0], j.unlisted...)}
	s.segments = append(s.segments, j.active)
	j.segments = s.segments
	j.text = s.append(j.text[:0])
	_, err := j.end.WriteAt(j.text, 0)
	return err
}
