package journal

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/minio/highwayhash"
)

// Older versions of this program kept the journal in a JetStream stream, in the directory
// stream, and the numbers of its first and last frame in the file last. They are read, and
// removed after the first compaction.
//
// A block of such a stream is a sequence of frames: length (4 bytes, of all of it),
// sequence number (8), time (8), length of the subject (2), subject, lines, and
// HighwayHash-64 of all that but the lengths (8), keyed by the name of the stream and the
// number of the block. All numbers are little-endian.
const (
	oldName   = "stream"
	oldMark   = "last"
	oldHeader = 22 + len(oldSubject)
	// oldGone is oldName when it is no longer needed, while it is removed.
	oldGone = "stream.removed"

	oldSubject = "journal"
	oldErased  = 1 << 63 // in a sequence number: the lines were erased
	oldDeleted = 1 << 62 // it only says that a frame was deleted
)

// oldStream is the stream of an older version.
type oldStream struct {
	found   bool
	damaged bool // it is kept
	bytes   int64
}

// sequences is a set of sequence numbers, as ranges from a number to another.
type sequences []struct{ from, to uint64 }

func (s *sequences) add(seq uint64) {
	if n := len(*s); n > 0 && (*s)[n-1].to+1 == seq {
		(*s)[n-1].to = seq
	} else {
		*s = append(*s, struct{ from, to uint64 }{seq, seq})
	}
}

// count is how many of the numbers from first to last are in the set.
func (s sequences) count(first, last uint64) (n uint64) {
	slices.SortFunc(s, func(a, b struct{ from, to uint64 }) int { return cmp.Compare(a.from, b.from) })
	for _, r := range s {
		if from, to := max(r.from, first), min(r.to, last); from <= to {
			n += to - from + 1
			first = to + 1
		}
	}
	return n
}

// readOld reads the stream of an older version, if there is one. If expected, there must
// be one.
func (j *Journal) readOld(expected bool, take func([]byte)) (stream oldStream, damage []string, err error) {
	messages, err := j.oldDirectory()
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return stream, nil, err
	}
	stream.found = err == nil
	if !stream.found && !expected {
		return stream, nil, nil
	}
	mark, err := j.readFile(oldMark)
	if err != nil {
		return stream, nil, err
	}
	var first, last uint64
	_, err = fmt.Sscanf(string(mark), "%020d %020d", &first, &last)
	marked := err == nil && last+1 >= first
	var names []string
	if stream.found && messages != "" {
		if names, err = j.disk.names(messages); err != nil {
			return stream, nil, err
		}
	}
	var blocks []int
	for _, name := range names {
		if number, isBlock := strings.CutSuffix(name, ".blk"); isBlock {
			if n, err := strconv.Atoi(number); err == nil {
				blocks = append(blocks, n)
			}
		}
	}
	slices.Sort(blocks)
	var read sequences
	var unreadable []string
	for _, n := range blocks {
		bad, size, err := j.readBlock(filepath.Join(messages, fmt.Sprint(n, ".blk")), n, blocks, func(seq uint64, lines []byte) {
			read.add(seq)
			take(lines)
		})
		if err != nil {
			return stream, nil, err
		}
		stream.bytes += size
		if len(bad) > 0 {
			unreadable = append(unreadable, fmt.Sprintf("%d.blk: %s", n, describe(bad)))
		}
	}
	switch got, wanted := read.count(first, last), last+1-first; {
	case !marked && stream.found && len(read) == 0 && len(unreadable) == 0: // it was just created
		return stream, nil, nil
	case !marked:
		damage = append(damage, fmt.Sprintf("the file %s is damaged or missing, so that frames may be missing in %s", oldMark, oldName))
	case got < wanted:
		damage = append(damage, fmt.Sprintf("%s: %s", oldName, framesLost(wanted-got, wanted)))
	default: // what is unreadable was never acknowledged
		return stream, nil, nil
	}
	for _, text := range unreadable {
		damage[0] += "; " + text
	}
	if stream.found {
		damage[0] += "; after the next compaction it is kept as " + oldName + ".damaged"
	}
	stream.damaged = true
	return stream, damage, nil
}

// oldDirectory returns the directory of the stream's blocks, or "" if it is missing
// within the stream's directory. The error is fs.ErrNotExist if there is no stream.
func (j *Journal) oldDirectory() (dir string, err error) {
	dir = filepath.Join(j.cfg.Dir, oldName)
	if _, err := j.disk.names(dir); err != nil {
		return "", err
	}
	dir = filepath.Join(dir, "jetstream")
	accounts, err := j.disk.names(dir)
	for _, account := range accounts {
		messages := filepath.Join(dir, account, "streams", oldSubject, "msgs")
		if _, err = j.disk.names(messages); err == nil {
			return messages, nil
		} else if !errors.Is(err, fs.ErrNotExist) {
			return "", err
		}
	}
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return "", err
}

// readBlock calls take for each valid frame of a block. others are the numbers of all
// blocks: the files may have been exchanged.
func (j *Journal) readBlock(path string, number int, others []int, take func(seq uint64, lines []byte)) (bad []span, size int64, err error) {
	f, err := j.disk.read(path)
	if err != nil {
		return nil, 0, err
	}
	defer f.Close()
	var hashes []hash.Hash64
	for _, n := range append([]int{number}, others...) {
		h, err := highwayhash.New64(oldKey(n))
		if err != nil {
			return nil, 0, err
		}
		hashes = append(hashes, h)
	}
	bad, size, err = scan(f, oldFormat(hashes), func(frame []byte, _ int64) {
		switch seq := little.Uint64(frame[4:]); {
		case seq&oldDeleted != 0:
		case seq&oldErased != 0:
			take(seq&^oldErased, nil)
		default:
			take(seq, frame[oldHeader:len(frame)-8])
		}
	})
	if err != nil {
		err = fmt.Errorf("read %s: %w", path, err)
	}
	return bad, size, err
}

// oldKey is the key of the hashes in a block.
func oldKey(block int) []byte {
	key := sha256.Sum256(fmt.Appendf(nil, "%s-%d", oldSubject, block))
	return key[:]
}

// oldFormat is the format of a block whose hash is one of these. The one that was right
// last comes first.
func oldFormat(hashes []hash.Hash64) format {
	marker := append([]byte{byte(len(oldSubject)), 0}, oldSubject...)
	return format{
		marker: marker, markerAt: 20, header: oldHeader,
		size: func(h []byte) int {
			size := little.Uint32(h)
			if !bytes.HasPrefix(h[20:], marker) || size < uint32(oldHeader+8) || size > maxFrame {
				return 0
			}
			return int(size)
		},
		valid: func(frame []byte) bool {
			sum := little.Uint64(frame[len(frame)-8:])
			for i, h := range hashes {
				h.Reset()
				h.Write(frame[4:20])
				h.Write(frame[22 : len(frame)-8])
				if h.Sum64() == sum {
					hashes[0], hashes[i] = hashes[i], hashes[0]
					return true
				}
			}
			return false
		},
	}
}

// dropOld removes the stream, or renames it if it is damaged. After an error it may be
// called again.
func (j *Journal) dropOld(stream oldStream) error {
	path := func(name string) string { return filepath.Join(j.cfg.Dir, name) }
	if stream.found {
		to := oldGone
		if stream.damaged {
			names, err := j.disk.names(j.cfg.Dir)
			if err != nil {
				return err
			}
			to = unusedName(names, oldName+".damaged")
		}
		if err := j.disk.rename(path(oldName), path(to)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	err := j.disk.removeAll(path(oldGone))
	if removeErr := j.disk.remove(path(oldMark)); !errors.Is(removeErr, fs.ErrNotExist) {
		err = errors.Join(err, removeErr)
	}
	return err
}

// unusedName is name, or name with a number if it is in names.
func unusedName(names []string, name string) string {
	for unused, n := name, 2; ; n++ {
		if !slices.Contains(names, unused) {
			return unused
		}
		unused = fmt.Sprintf("%s-%d", name, n)
	}
}
