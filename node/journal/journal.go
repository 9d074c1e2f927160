// Package journal keeps one server's map on disk. A server that restarts alone gets its
// map from its neighbours. If all servers stop at once, only their journals have it.
//
// A journal is a JetStream stream in a nats-server inside this process. That server
// listens on no port, so nobody on the bus can reach it, and keeps its files in the
// journal's directory. Each message of the stream is a frame: lines of records, as on an
// edge.
//
// The stream is append-only. To remove old records, compaction appends the whole map and
// then drops everything before it. So the process may be killed at any time: records are
// merged when the journal is read, and merging one twice has no effect.
package journal

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/gofrs/flock"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

const (
	streamName = "journal"
	subject    = "journal"

	startTimeout = 10 * time.Second
	ackTimeout   = 2 * time.Second
	readTimeout  = 30 * time.Second // for one frame at the start
	// A journal is compacted when it is larger than compactAbove and than compactTimes
	// the map.
	compactAbove = 32 << 20
	compactTimes = 4
	inFlight     = 256 // maximum number of frames that are not acknowledged yet
	readAhead    = 128 // frames that are fetched ahead when the journal is read
)

// ErrInUse is the error of Open when another process has locked the directory.
var ErrInUse = errors.New("another process uses this directory")

// Config describes a journal.
type Config struct {
	Dir  string // created with mode 0700 if missing
	Sync bool   // Append waits until the frames are on disk (fsync)
	Log  *slog.Logger
}

// Journal is a journal on disk. It is opened once and is not safe for concurrent use.
type Journal struct {
	cfg  Config
	lock *flock.Flock
	nats *server.Server
	conn *nats.Conn
	js   jetstream.JetStream
	log  *logger

	unread bool     // reading stopped early: compaction would drop what was not read
	broken bool     // the storage engine failed: Append restarts it
	first  uint64   // messages with lower sequence numbers may have been dropped
	last   uint64   // sequence number of the last acknowledged message
	size   int64    // approximate size of the stream in bytes
	mark   *os.File // holds first and last, because a stream does not show that its ends were cut off
}

// New makes a Journal. It does no I/O.
func New(cfg Config) *Journal { return &Journal{cfg: cfg} }

// Open opens the journal, or creates it, and calls take for each frame in it. Damage is
// not an error: Open reads what it can, and damage describes what is missing, which is at
// least a block of a few hundred frames. If it cannot read the files at all, it renames
// their directory and creates an empty journal. The error is ErrInUse if another process
// has the journal open.
func (j *Journal) Open(take func(frame []byte)) (damage []string, err error) {
	if err := os.MkdirAll(j.cfg.Dir, 0o700); err != nil {
		return nil, err
	}
	j.lock = flock.New(filepath.Join(j.cfg.Dir, "lock"))
	switch locked, err := j.lock.TryLock(); {
	case err != nil:
		return nil, fmt.Errorf("lock %s: %w", j.cfg.Dir, err)
	case !locked:
		return nil, fmt.Errorf("%s: %w", j.cfg.Dir, ErrInUse)
	}
	if j.mark, err = os.OpenFile(filepath.Join(j.cfg.Dir, "last"), os.O_RDWR|os.O_CREATE, 0o600); err != nil {
		return nil, errors.Join(err, j.lock.Unlock())
	}
	if damage, err = j.open(take); err != nil {
		j.stop()
		aside := j.files() + ".damaged-" + time.Now().UTC().Format("20060102T150405.000000000")
		if renameErr := os.Rename(j.files(), aside); renameErr != nil {
			return nil, errors.Join(err, renameErr, j.Close())
		}
		damage = append(damage, fmt.Sprintf("%v: its files are now in %s", err, aside))
		more, err := j.open(take)
		if err != nil {
			return nil, errors.Join(err, j.Close())
		}
		damage = append(damage, more...)
	}
	return damage, j.writeMark()
}

// writeMark writes first and last to the mark file.
func (j *Journal) writeMark() error {
	_, err := j.mark.WriteAt(fmt.Appendf(nil, "%020d %020d\n", j.first, j.last), 0)
	return err
}

// readMark reads the mark file. It returns zeros if there is none yet.
func (j *Journal) readMark() (first, last uint64) {
	text := make([]byte, 41)
	if _, err := j.mark.ReadAt(text, 0); err != nil {
		return 0, 0
	}
	if _, err := fmt.Sscanf(string(text), "%d %d", &first, &last); err != nil {
		return 0, 0
	}
	return first, last
}

func (j *Journal) files() string { return filepath.Join(j.cfg.Dir, "stream") }

// open starts the storage engine. Unless take is nil, it also reads the stream.
func (j *Journal) open(take func(frame []byte)) (damage []string, err error) {
	defer func() {
		if p := recover(); p != nil { // the storage engine may panic on damaged files
			err = fmt.Errorf("reading the files: %v", p)
		}
	}()
	j.log = &logger{log: j.cfg.Log}
	j.nats, err = server.NewServer(&server.Options{
		ServerName: "journal", DontListen: true, NoSigs: true,
		JetStream: true, StoreDir: j.files(), SyncAlways: j.cfg.Sync,
		// No limit in advance: by default it would be derived from the free space of the
		// disk. Writes fail when the disk is full.
		JetStreamMaxStore: 1 << 50, JetStreamMaxMemory: 1 << 20,
		MaxPayload: 8 << 20,
	})
	if err != nil {
		return damage, err
	}
	j.nats.SetLoggerV2(j.log, false, false, false)
	j.nats.Start()
	if !j.nats.ReadyForConnections(startTimeout) {
		return damage, fmt.Errorf("the storage engine did not start: %s", j.log.last())
	}
	if j.conn, err = nats.Connect("", nats.InProcessServer(j.nats), nats.MaxReconnects(-1)); err != nil {
		return damage, err
	}
	if j.js, err = jetstream.New(j.conn, jetstream.WithPublishAsyncMaxPending(inFlight), jetstream.WithPublishAsyncTimeout(ackTimeout)); err != nil {
		return damage, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	stream, err := j.js.CreateOrUpdateStream(ctx, jetstream.StreamConfig{
		Name: streamName, Subjects: []string{subject}, Storage: jetstream.FileStorage, Discard: jetstream.DiscardNew,
	})
	if err != nil {
		return damage, err
	}
	if take == nil {
		return nil, nil
	}
	damage, err = j.read(ctx, stream, take)
	if len(damage) > 0 && j.log.last() != "" {
		damage = append(damage, "the storage engine reports: "+j.log.last())
	}
	return damage, err
}

// read calls take for each frame in the stream.
func (j *Journal) read(ctx context.Context, stream jetstream.Stream, take func(frame []byte)) (damage []string, err error) {
	info, err := stream.Info(ctx)
	if err != nil {
		return damage, err
	}
	state := info.State
	j.last, j.size = state.LastSeq, int64(state.Bytes)
	first, last := j.readMark()
	if last > state.LastSeq {
		damage = append(damage, fmt.Sprintf("%d frames are missing at the end", last-state.LastSeq))
	}
	if first > 0 && state.FirstSeq > first {
		damage = append(damage, fmt.Sprintf("%d frames are missing at the beginning", state.FirstSeq-first))
	}
	j.first = max(1, state.FirstSeq)
	if state.Msgs == 0 {
		return damage, nil
	}
	consumer, err := stream.OrderedConsumer(ctx, jetstream.OrderedConsumerConfig{DeliverPolicy: jetstream.DeliverAllPolicy})
	if err != nil {
		return damage, err
	}
	messages, err := consumer.Messages(jetstream.PullMaxMessages(readAhead))
	if err != nil {
		return damage, err
	}
	defer messages.Stop()
	expected, lost := state.FirstSeq, uint64(0)
	for read := uint64(0); read < state.Msgs; {
		m, err := j.nextFrame(messages)
		if err != nil {
			j.unread = true
			damage = append(damage, fmt.Sprintf("reading stopped after %d of %d frames: %v", read, state.Msgs, err))
			break
		}
		meta, err := m.Metadata()
		if err != nil {
			return damage, err
		}
		lost += meta.Sequence.Stream - expected
		expected = meta.Sequence.Stream + 1
		read++
		take(m.Data())
		if meta.NumPending == 0 {
			break
		}
	}
	if lost += state.LastSeq + 1 - expected; lost > 0 {
		damage = append(damage, fmt.Sprintf("%d frames are missing between others", lost))
	}
	return damage, nil
}

// nextFrame waits for the next frame, for readTimeout at most: a slow disk is not a
// damaged one.
func (j *Journal) nextFrame(messages jetstream.MessagesContext) (m jetstream.Msg, err error) {
	for began := time.Now(); ; {
		m, err = messages.Next(jetstream.NextMaxWait(ackTimeout))
		if !errors.Is(err, nats.ErrTimeout) || time.Since(began) >= readTimeout {
			return m, err
		}
		j.cfg.Log.Warn("journal: reading is slow", "waited", time.Since(began).Round(time.Second))
	}
}

// Append returns when all frames are in the journal, and keeps no reference to them then.
// After an error any of them may be in it. A storage engine that has failed does not
// recover, so the next Append restarts it.
func (j *Journal) Append(frames [][]byte) (err error) {
	if j.broken {
		j.stop()
		if _, err := j.open(nil); err != nil {
			return err
		}
		j.broken = false
	}
	if err = j.append(frames); err != nil {
		j.broken = true
		if said := j.log.last(); said != "" {
			err = fmt.Errorf("%w: %s", err, said)
		}
	}
	return err
}

func (j *Journal) append(frames [][]byte) error {
	futures := make([]jetstream.PubAckFuture, len(frames))
	for i, frame := range frames {
		var err error
		if futures[i], err = j.js.PublishAsync(subject, frame, jetstream.WithStallWait(ackTimeout)); err != nil {
			return err
		}
	}
	timeout := time.After(ackTimeout)
	for i, f := range futures {
		select {
		case ack := <-f.Ok():
			j.last = max(j.last, ack.Sequence)
			j.size += int64(len(frames[i]))
		case err := <-f.Err():
			return err
		case <-timeout:
			return errors.New("the storage engine does not acknowledge a frame")
		}
	}
	return j.writeMark()
}

// NeedsCompaction reports whether the journal is much larger than the map, whose size is
// given in bytes.
func (j *Journal) NeedsCompaction(mapSize int64) bool {
	return !j.unread && j.size > compactAbove && j.size > compactTimes*mapSize
}

// Compact appends the frames that next returns, until it returns none: the whole map. Then
// it drops everything that was in the journal before. After an error nothing is dropped.
// next may call Append.
func (j *Journal) Compact(next func() ([][]byte, error)) error {
	before, size := j.last, j.size
	for {
		frames, err := next()
		if err != nil {
			return err
		}
		if len(frames) == 0 {
			break
		}
		if err := j.Append(frames); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	stream, err := j.js.Stream(ctx, streamName)
	if err != nil {
		return err
	}
	j.first = before + 1
	if err := j.writeMark(); err != nil { // before the purge: a kill in between must not look like damage
		return err
	}
	if err := stream.Purge(ctx, jetstream.WithPurgeSequence(before+1)); err != nil {
		return err
	}
	j.size -= size
	return nil
}

// Close closes the journal. Everything that Append has returned nil for is in it.
func (j *Journal) Close() error {
	j.stop()
	return errors.Join(j.mark.Close(), j.lock.Unlock())
}

func (j *Journal) stop() {
	if j.conn != nil {
		j.conn.Close()
		j.conn = nil
	}
	if j.nats != nil {
		j.nats.Shutdown()
		j.nats.WaitForShutdown()
		j.nats = nil
	}
}

// logger receives the log of the storage engine. It keeps the last warning or error, and
// logs all of them at level debug: many are harmless, such as that the last stop was not
// clean.
type logger struct {
	log *slog.Logger

	mu    sync.Mutex
	words string
}

func (l *logger) complain(format string, v []any) {
	text := fmt.Sprintf(format, v...)
	l.log.Debug("journal", "storage", text)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.words = strings.TrimSpace(text)
}

// last is the last warning or error; "" for none.
func (l *logger) last() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.words
}

func (l *logger) Noticef(format string, v ...any) {}
func (l *logger) Warnf(format string, v ...any)   { l.complain(format, v) }
func (l *logger) Errorf(format string, v ...any)  { l.complain(format, v) }
func (l *logger) Fatalf(format string, v ...any)  { l.complain(format, v) }
func (l *logger) Debugf(format string, v ...any)  {}
func (l *logger) Tracef(format string, v ...any)  {}
