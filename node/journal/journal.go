// Package journal keeps one server's map on disk. A server that restarts alone gets its
// map from its neighbours. If all servers stop at once, only their journals have it.
//
// A journal is a directory of segments: files of frames, each with a checksum. A frame
// holds lines of records, as on an edge. News is appended to the last segment. To remove
// old records, compaction writes the whole map into a segment of its own and then drops
// the segments before it. So the process may be killed at any time: records are merged
// when the journal is read, and merging one twice has no effect. README.md explains the
// files, and why they are as they are.
package journal

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/gofrs/flock"
)

const (
	// A journal is compacted when it is larger than limitBase + limitTimes * the map, but
	// only every limitEvery unless it is larger than busyBase + busyTimes * the map: each
	// compaction waits for the disk a few times, and on a busy disk appends wait with it. Above
	// waitBase + waitTimes * the map, appends wait for the compaction. Between them is room
	// for what arrives while a busy disk takes the snapshot.
	limitBase  = 1 << 20
	limitTimes = 3
	limitEvery = time.Second / 2
	busyBase   = 4 << 20
	busyTimes  = 4
	waitBase   = 8 << 20
	waitTimes  = 6

	segmentSize = 64 << 20 // from here on a new segment is begun
	maxFiles    = 100      // a journal of more files is compacted: each start begins one
	syncEvery   = 4 << 20  // bytes of a snapshot between two waits for the disk

	createEmpty = os.O_CREATE | os.O_TRUNC
)

var (
	// ErrInUse is the error of Open when another process has locked the directory.
	ErrInUse = errors.New("another process uses this directory")

	// ErrForeign is the error of Open when the journal is not that of Config.Prefix and Server.
	ErrForeign = errors.New("another server's journal")

	errClosed = errors.New("the journal is closed")
)

// Config describes a journal.
type Config struct {
	Dir            string // created with mode 0700 if missing
	Sync           bool   // Append waits until the frames are on disk (fsync)
	Prefix, Server string // whose journal it is; with Server "", anybody's
	Log            *slog.Logger
}

// Journal is a journal on disk. It is opened once. Append, NeedsCompaction and Compact may
// be called concurrently, but not two Appends.
type Journal struct {
	cfg  Config
	disk disk
	lock *flock.Flock

	compaction sync.Mutex // held during Compact and Close

	mu       sync.Mutex
	calm     sync.Cond // a compaction has ended, or NeedsCompaction was called
	closed   bool
	id, run  uint64
	next     uint64     // the number of the next segment
	active   segment    // gets the news; its bytes are where the next frame is written
	file     file       // the active segment's
	end      file       // see state
	broken   bool       // file or end has failed: go on in a new segment
	older    []segment  // the segments in use before the active one
	unlisted []segment  // those of them that are not in the manifest yet
	files    []diskFile // the files of older, and others that belong to the journal
	old      oldStream  // the stream of an older version, until it was dropped
	obsolete []string   // files that a Compact has failed to remove; used by Compact only
	size     int64      // bytes of files and old
	mapSize  int64      // as last given to NeedsCompaction
	urgent   bool       // compact whatever the size
	snapshot segment    // written by a compaction whose manifest failed; number 0: none

	compacted  time.Time // when the last Compact began
	due        bool      // NeedsCompaction was true, so that a Compact will come
	compacting bool
	failed     bool // the last Compact failed

	// Buffers:
	frames, text []byte
	segments     []segment
}

// diskFile is a file that belongs to the journal.
type diskFile struct {
	number  uint64 // of its name
	path    string
	bytes   int64
	damaged bool // it is kept when the segment is dropped
}

// New makes a Journal. It does no I/O.
func New(cfg Config) *Journal {
	j := &Journal{cfg: cfg, disk: osDisk{}}
	j.calm.L = &j.mu
	return j
}

// Append returns when all frames are in the journal, and keeps no reference to them. It
// takes as long as the disk does, and waits for a compaction when the journal has grown
// far beyond its limit, unless the last one has failed. After an error none of them counts
// as appended: the next Append overwrites them, or begins another file if it is the file
// that failed. So the caller may try again for as long as it likes.
func (j *Journal) Append(frames [][]byte) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	for (j.due || j.compacting) && j.size+j.active.bytes > waitBase+waitTimes*j.mapSize {
		j.calm.Wait()
	}
	if j.closed {
		return errClosed
	}
	if j.broken || j.active.bytes >= segmentSize {
		if err := j.rotate(); err != nil {
			return err
		}
	}
	before := j.active
	j.frames = j.frames[:0]
	for _, lines := range frames {
		if len(lines) > maxFrame {
			return fmt.Errorf("a frame of %d bytes: %d are the most", len(lines), maxFrame)
		}
		j.frames = appendFrame(j.frames, frameID{j.id, before.number, uint32(j.active.frames)}, lines)
		j.active.frames++
	}
	j.active.bytes += int64(len(j.frames))
	err := j.write(before.bytes)
	if err != nil {
		j.active = before
	}
	return err
}

// write writes j.frames at an offset of the active segment, and then the end. The lock is
// held.
func (j *Journal) write(offset int64) error {
	_, err := j.file.WriteAt(j.frames, offset)
	if err == nil && j.cfg.Sync {
		if err = j.file.Sync(); err != nil { // what was written may be gone, and a second Sync would not say so
			j.broken = true
			return err
		}
	}
	if err == nil {
		err = j.writeEnd()
	}
	if err != nil {
		// Without the truncation, whole frames that do not count could stay behind later ones.
		j.broken = !isFull(err) || j.file.Truncate(offset) != nil
	}
	return err
}

// rotate begins a new active segment. The lock is held.
func (j *Journal) rotate() error {
	number := j.next
	f, err := j.create(number)
	if err != nil {
		return err
	}
	return j.activate(number, f)
}

// create creates an empty segment.
func (j *Journal) create(number uint64) (file, error) {
	path := j.path(number)
	f, err := j.disk.open(path, createEmpty)
	if err == nil && j.cfg.Sync {
		if err = j.disk.syncDir(j.cfg.Dir); err != nil {
			f.Close()
			j.disk.remove(path)
		}
	}
	return f, err
}

// activate makes an empty segment the active one. The lock is held. After an error it is
// the active one, but broken.
func (j *Journal) activate(number uint64, f file) error {
	j.next = max(j.next, number+1)
	j.retire()
	j.active, j.file = segment{number: number}, f
	err := j.writeEnd()
	j.broken = err != nil
	return err
}

// retire closes the active segment's file. A segment without frames is removed: a disk
// that fails all the time must not fill the directory. The lock is held.
func (j *Journal) retire() {
	path := j.path(j.active.number)
	if j.active.frames == 0 {
		j.file.Close()
		j.disk.remove(path)
		return
	}
	if err := j.file.Close(); err != nil {
		j.cfg.Log.Warn("journal: a file was not closed", "file", path, "err", err)
	}
	j.older = append(j.older, j.active)
	j.unlisted = append(j.unlisted, j.active)
	j.files = append(j.files, diskFile{number: j.active.number, path: path, bytes: j.active.bytes})
	j.size += j.active.bytes
}

// NeedsCompaction reports whether the journal has become much larger than the map, whose
// size is given in bytes, or should be written anew because it is damaged.
func (j *Journal) NeedsCompaction(mapSize int64) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.mapSize = mapSize
	size := j.size + j.active.bytes
	needed := j.urgent || len(j.files) > maxFiles || size > busyBase+busyTimes*mapSize ||
		size > limitBase+limitTimes*mapSize && time.Since(j.compacted) >= limitEvery
	j.due = needed && !j.failed
	j.calm.Broadcast() // a larger map may leave enough room
	return needed
}

// Close closes the journal, after a Compact that runs. Everything that Append has returned
// nil for is in it, and on the disk unless there is an error.
func (j *Journal) Close() error {
	j.compaction.Lock()
	defer j.compaction.Unlock()
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.closed || j.file == nil {
		return nil
	}
	j.closed = true
	return errors.Join(j.file.Sync(), j.end.Sync(), j.file.Close(), j.end.Close(), j.lock.Unlock())
}

// path is the path of a segment's file.
func (j *Journal) path(number uint64) string { return filepath.Join(j.cfg.Dir, fileName(number)) }

func fileName(number uint64) string { return fmt.Sprintf("segment-%08d.log", number) }
