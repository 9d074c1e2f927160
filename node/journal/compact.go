package journal

import (
	"context"
	"errors"
	"io/fs"
	"path/filepath"
	"slices"
	"time"
)

// partialName is the file of a snapshot that is not complete.
const partialName = "snapshot.partial"

// Compact writes the frames that next returns, until it returns none, into a segment: the
// whole map. When that is on the disk, it drops all that was in the journal when Compact
// was called. Appends go on meanwhile, into a segment of their own. After an error, such
// as that of a cancelled ctx, nothing is dropped, what was written is removed, and no
// Append waits until a Compact has succeeded. next must not call Compact or Close; its
// frames are used until it is called again.
func (j *Journal) Compact(ctx context.Context, next func() [][]byte) (err error) {
	j.compaction.Lock()
	defer j.compaction.Unlock()
	j.mu.Lock()
	j.compacting, j.compacted = true, time.Now()
	closed := j.closed || j.file == nil
	j.mu.Unlock()
	defer func() {
		j.mu.Lock()
		j.compacting, j.due, j.failed = false, false, err != nil
		j.mu.Unlock()
		j.calm.Broadcast()
	}()
	if err := ctx.Err(); err != nil {
		return err
	}
	if closed {
		return errClosed
	}
	if j.snapshot.number == 0 { // else the manifest is all that is missing
		snapshot, err := j.divide()
		if err != nil {
			return err
		}
		if snapshot, err = j.writeSnapshot(ctx, snapshot, next); err != nil {
			return err
		}
		j.snapshot = snapshot
	}
	return j.adopt()
}

// divide begins a new active segment. The snapshot, whose number lies before it, replaces
// everything before both. The numbers of segments are the order of their lines, on which a replay
// relies.
func (j *Journal) divide() (snapshot segment, err error) {
	for {
		j.mu.Lock()
		snapshot.number = j.next
		active := j.next + 1
		j.next += 2
		j.mu.Unlock()
		f, err := j.create(active)
		if err != nil {
			return snapshot, err
		}
		j.mu.Lock()
		if j.active.number < active {
			defer j.mu.Unlock()
			return snapshot, j.activate(active, f)
		}
		j.mu.Unlock() // an append has failed meanwhile, and has begun a later segment
		f.Close()
		j.disk.remove(j.path(active))
	}
}

// writeSnapshot writes the file of a snapshot. The disk gets it in pieces: at the end of
// a large one, all appends would wait.
func (j *Journal) writeSnapshot(ctx context.Context, s segment, next func() [][]byte) (segment, error) {
	partial := filepath.Join(j.cfg.Dir, partialName)
	f, err := j.disk.open(partial, createEmpty)
	if err != nil {
		return s, err
	}
	s, err = j.fillSnapshot(ctx, f, s, next)
	if err = errors.Join(err, f.Close()); err == nil {
		err = j.disk.rename(partial, j.path(s.number))
	}
	if err != nil {
		return s, errors.Join(err, j.disk.remove(partial))
	}
	// The manifest must not be on the disk before the name of the snapshot.
	if err := j.disk.syncDir(j.cfg.Dir); err != nil {
		return s, errors.Join(err, j.disk.remove(j.path(s.number)))
	}
	return s, nil
}

func (j *Journal) fillSnapshot(ctx context.Context, f file, s segment, next func() [][]byte) (segment, error) {
	var buf []byte
	unsynced := 0
	for {
		frames := next()
		if err := ctx.Err(); err != nil {
			return s, err
		}
		if len(frames) == 0 {
			return s, f.Sync()
		}
		buf = buf[:0]
		for _, lines := range frames {
			buf = appendFrame(buf, frameID{j.id, s.number, uint32(s.frames)}, lines)
			s.frames++
		}
		if _, err := f.WriteAt(buf, s.bytes); err != nil {
			return s, err
		}
		s.bytes += int64(len(buf))
		if unsynced += len(buf); unsynced >= syncEvery {
			unsynced = 0
			if err := f.Sync(); err != nil {
				return s, err
			}
		}
	}
}

// adopt makes the snapshot the first segment in use, and removes what was before it; if it
// cannot remove it, that is no error. If the manifest may have been replaced, but perhaps not on the disk, both the snapshot and
// what was before it stay in use, and the next Compact calls adopt again.
func (j *Journal) adopt() error {
	first := j.snapshot.number
	j.mu.Lock()
	kept := []segment{j.snapshot}
	for _, g := range j.older {
		if g.number > first {
			kept = append(kept, g)
		}
	}
	manifest := state{id: j.id, run: j.run, first: first, prefix: j.cfg.Prefix, server: j.cfg.Server, segments: kept}
	j.mu.Unlock()
	if replaced, err := j.writeManifest(manifest); err != nil {
		if !replaced {
			j.snapshot = segment{}
			err = errors.Join(err, j.disk.remove(j.path(first)))
		}
		return err
	}

	j.mu.Lock()
	var dropped []diskFile
	files := []diskFile{{number: first, path: j.path(first), bytes: j.snapshot.bytes}}
	for _, f := range j.files {
		if f.number > first {
			files = append(files, f)
		} else if f.number < first && !f.damaged {
			dropped = append(dropped, f)
		}
	}
	// Appends may have retired further segments since kept was made.
	var unlisted []segment
	for _, g := range j.older {
		if g.number > first && !slices.Contains(manifest.segments, g) {
			unlisted = append(unlisted, g)
		}
	}
	kept = append(kept, unlisted...)
	j.files, j.older, j.unlisted = files, kept, unlisted
	j.urgent, j.snapshot, j.size = false, segment{}, 0
	for _, f := range files {
		j.size += f.bytes
	}
	j.mu.Unlock()
	j.removeObsolete(dropped)
	return nil
}

// removeObsolete removes what a snapshot has replaced. What cannot be removed is left to
// the next compaction or start: the journal does not count it any more.
func (j *Journal) removeObsolete(dropped []diskFile) {
	for _, f := range dropped {
		j.obsolete = append(j.obsolete, f.path)
	}
	var errs []error
	j.obsolete = slices.DeleteFunc(j.obsolete, func(path string) bool {
		err := j.disk.remove(path)
		if err == nil || errors.Is(err, fs.ErrNotExist) {
			return true
		}
		errs = append(errs, err)
		return false
	})
	if err := j.dropOld(j.old); err != nil {
		errs = append(errs, err)
		j.old.bytes = 0
	} else {
		j.old = oldStream{}
	}
	if len(errs) > 0 {
		j.cfg.Log.Warn("journal: files that are not needed were not removed, the next compaction tries again", "errors", len(errs), "err", errs[0])
	}
}
