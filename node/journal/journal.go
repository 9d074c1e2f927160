// Package journal keeps one server's map on disk, for the day all servers stop at
// once: neighbours bring one that was restarted up to date, but when all are,
// nobody knows but their journals.
//
// A journal is a JetStream stream in a nats-server that lives inside the process,
// listens nowhere and keeps its files in the server's own directory: a storage
// engine that we do not write, and that nobody on the bus can reach. Each message
// is a frame, lines of records as on an edge. Nothing in it is ever changed; what
// has become old is left behind by writing the whole map again and then dropping
// all that was there before, so a journal may be killed at any point: records are
// merged when they are read back, and any of them twice does no harm.
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
	// compactAbove is the size of a journal below which it is never written anew,
	// and compactTimes how many times the size of the map it may reach.
	compactAbove = 32 << 20
	compactTimes = 4
	inFlight     = 256 // frames sent and not yet acknowledged
	readAhead    = 128 // frames that are read before they are taken
)

// ErrInUse says that another process has the directory.
var ErrInUse = errors.New("another process uses this directory")

// Config is where a journal is and what it promises.
type Config struct {
	Dir  string // made, mode 0700, when missing
	Sync bool   // Append returns when the disk has it, not only the operating system
	Log  *slog.Logger
}

// Journal is a journal. It is opened once, and used by one goroutine.
type Journal struct {
	cfg  Config
	lock *flock.Flock
	nats *server.Server
	conn *nats.Conn
	js   jetstream.JetStream
	log  *logger

	broken bool     // the storage engine failed, and is to be started anew
	first  uint64   // sequence number below which all may have been dropped
	last   uint64   // sequence number of the last message acknowledged
	size   int64    // of the stream, about
	mark   *os.File // holds first and last, outside the stream: what was cut off at its ends leaves no trace in it
}

// New makes a Journal, which Open opens.
func New(cfg Config) *Journal { return &Journal{cfg: cfg} }

// Open opens the journal, or begins one, and calls take for each frame in it. A
// damaged journal is no error: what can be read of it is, in pieces of a few
// hundred frames, and damage says in words what is missing. If nothing can, its files are put aside and it begins anew.
// ErrInUse says that another process has it.
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

// writeMark keeps first and last outside the stream.
func (j *Journal) writeMark() error {
	_, err := j.mark.WriteAt(fmt.Appendf(nil, "%020d %020d\n", j.first, j.last), 0)
	return err
}

// readMark is what writeMark wrote last; 0 if it never did.
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

// open starts the storage engine and, unless take is nil, reads the stream.
func (j *Journal) open(take func(frame []byte)) (damage []string, err error) {
	defer func() {
		if p := recover(); p != nil { // a storage engine may trip over files that it did not write
			err = fmt.Errorf("reading the files: %v", p)
		}
	}()
	j.log = &logger{log: j.cfg.Log}
	j.nats, err = server.NewServer(&server.Options{
		ServerName: "journal", DontListen: true, NoSigs: true,
		JetStream: true, StoreDir: j.files(), SyncAlways: j.cfg.Sync,
		// Not measured off the disk's free space, which others use too: a full disk
		// fails the write.
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
		damage = append(damage, "the storage engine says: "+j.log.last())
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
		m, err := messages.Next(jetstream.NextMaxWait(ackTimeout))
		if err != nil {
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

// Append appends frames and returns when all of them are in the journal, and keeps no
// hold on them; on an error, any of them may be. A storage engine that failed once fails for ever, so
// the next Append starts it anew.
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
			return errors.New("the storage engine does not answer")
		}
	}
	return j.writeMark()
}

// NeedsCompaction reports whether the journal has grown to many times the map, whose size
// is given in bytes.
func (j *Journal) NeedsCompaction(mapSize int64) bool {
	return j.size > compactAbove && j.size > compactTimes*mapSize
}

// Compact appends the whole map, which next returns in frames until it returns none, and
// then drops all that was in the journal before. After an error nothing is dropped. next
// may call Append.
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
	if err := j.writeMark(); err != nil { // before it is true, so that a kill in between looks like no damage
		return err
	}
	if err := stream.Purge(ctx, jetstream.WithPurgeSequence(before+1)); err != nil {
		return err
	}
	j.size -= size
	return nil
}

// Close closes the journal. All that Append has returned for is in it.
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

// logger keeps the last that the storage engine complained of, and hands it on. It
// complains of much that is no loss, such as having been killed.
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

// last is what it last complained of; "" for nothing.
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
