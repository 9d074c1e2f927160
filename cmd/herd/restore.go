package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"herd/bus"
	"herd/bus/access"
	"herd/bus/natsbus"
	"herd/bus/plural"
	"herd/node/status"
	"herd/node/wire"
)

type restoreCommand struct {
	File string `arg:"" type:"path" help:"File with records, as lines or as JSON lines; - is standard input."`
}

// Help is shown by herd restore --help.
func (restoreCommand) Help() string {
	return `It brings records into the running herd, where they count like reports: a record is news if it is newer
than what the herd has. So it does not undo herd forget, which is newer: only a new report does. It needs the
operators' key. Example:

    herd restore herd.txt`
}

const (
	// restoreBytes is the size of a request.
	restoreBytes = 256 << 10
	// restoreTimeout is how long one request may take. A server waits for its journal.
	restoreTimeout = 30 * time.Second
)

// Run sends the records of the file, and prints what became of them.
func (r restoreCommand) Run(ctx context.Context, c console) error {
	s, err := loadSettings(func(c *checker, s settings) { c.hasSeeds(s, access.OpsUser) })
	if err != nil {
		return err
	}
	in := io.Reader(os.Stdin)
	if r.File != "-" {
		f, err := os.Open(r.File)
		if err != nil {
			return fmt.Errorf("restore: %w", err)
		}
		defer f.Close()
		in = f
	}
	connecting, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	cfg := s.busConfig(s.busURLs(), access.OpsUser)
	requester, err := natsbus.NewRequester(connecting, cfg, status.RestoreEndpoint, "")
	if err != nil {
		return fmt.Errorf("restore: %w", busHint(err))
	}
	defer requester.Close()
	restore := restoring{requester: requester, progress: c.terminal}
	if err = untilInterrupted(ctx, func() error { return restore.all(ctx, in) }); errors.Is(err, errAbandoned) {
		return fmt.Errorf("restore: %w; it can be run again: what is there already counts as duplicate", err)
	}
	restore.showProgress(true)
	if !errors.Is(err, bus.ErrDenied) { // then nothing was restored
		if _, printing := fmt.Fprintln(c.Out, restore.counts); printing != nil && err == nil {
			err = printing
		}
	}
	switch {
	case ctx.Err() != nil:
		return errors.New("restore: interrupted; it can be run again: what is there already counts as duplicate")
	case errors.Is(err, bus.ErrDenied):
		return fmt.Errorf("restore: %s (%w)", opsKeyHint(ctx, cfg), err)
	case err != nil:
		return fmt.Errorf("restore: %w", busHint(err))
	case restore.counts.refused > 0:
		return fmt.Errorf("restore: %d records were refused: the map of the server is full (HERD_MAX_MAP_BYTES)", restore.counts.refused)
	case restore.counts.bad > 0:
		return fmt.Errorf("restore: %d %s, the first is line %d (a file for restore has text or JSON lines, as herd dump writes them)", restore.counts.bad, plural.Form(restore.counts.bad, "line is no record", "lines are no records"), restore.firstBad)
	}
	return nil
}

// restored counts lines by what became of them.
type restored struct{ news, duplicate, stale, refused, bad int }

func (r restored) String() string {
	return fmt.Sprintf("news %d duplicate %d stale %d refused %d bad %d", r.news, r.duplicate, r.stale, r.refused, r.bad)
}

// restoring sends lines to the herd.
type restoring struct {
	requester *natsbus.Requester
	progress  io.Writer // a terminal; nil for none
	shown     time.Time

	counts   restored
	lines    int // read
	firstBad int // number of the first line that is no record
	frame    []byte
}

// longestLine is longer than any record as JSON, which may take six bytes for one.
const longestLine = 4 << 20

// all sends all lines of in.
func (r *restoring) all(ctx context.Context, in io.Reader) error {
	lines := bufio.NewReaderSize(in, longestLine)
	for {
		line, err := lines.ReadSlice('\n')
		tooLong := errors.Is(err, bufio.ErrBufferFull)
		for errors.Is(err, bufio.ErrBufferFull) {
			_, err = lines.ReadSlice('\n')
		}
		switch {
		case err != nil && !errors.Is(err, io.EOF):
			return err
		case tooLong:
			r.lines++
			r.bad()
		case len(line) > 0:
			if sending := r.line(ctx, bytes.TrimRight(line, "\r\n")); sending != nil {
				return sending
			}
		}
		if err != nil {
			return r.send(ctx)
		}
	}
}

// line adds a line to the next request. Blank lines do not count.
func (r *restoring) line(ctx context.Context, line []byte) error {
	r.lines++
	if len(bytes.TrimSpace(line)) == 0 {
		return nil
	}
	record, err := restoredRecord(line)
	if err == nil {
		_, err = wire.ParseRecord(record)
	}
	if err != nil {
		r.bad()
		return nil
	}
	r.frame = append(append(r.frame, record...), '\n')
	if len(r.frame) < restoreBytes {
		return nil
	}
	return r.send(ctx)
}

// bad counts the line that was read last as one without a record.
func (r *restoring) bad() {
	if r.counts.bad++; r.firstBad == 0 {
		r.firstBad = r.lines
	}
}

// restoredRecord is the record in a line, which is the record itself or JSON.
func restoredRecord(line []byte) ([]byte, error) {
	if line[0] != '{' {
		return line, nil
	}
	var r struct {
		Record       string `json:"record"`
		RecordBase64 []byte `json:"record_base64"`
	}
	if err := json.Unmarshal(line, &r); err != nil {
		return nil, err
	}
	if r.RecordBase64 != nil {
		return r.RecordBase64, nil
	}
	return []byte(r.Record), nil
}

// send sends a request with the lines that were gathered.
func (r *restoring) send(ctx context.Context) error {
	if len(r.frame) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, restoreTimeout)
	defer cancel()
	reply, err := r.requester.Request(ctx, r.frame)
	if err != nil {
		return err
	}
	var got restored
	if _, err := fmt.Sscanf(string(reply), "news %d duplicate %d stale %d refused %d bad %d", &got.news, &got.duplicate, &got.stale, &got.refused, &got.bad); err != nil {
		return fmt.Errorf("a server has replied %.200q", reply)
	}
	r.frame = r.frame[:0]
	r.counts.news += got.news
	r.counts.duplicate += got.duplicate
	r.counts.stale += got.stale
	r.counts.refused += got.refused
	r.counts.bad += got.bad
	r.showProgress(false)
	return nil
}

// showProgress says how many lines were read, twice a second.
func (r *restoring) showProgress(last bool) {
	if r.progress == nil || !last && time.Since(r.shown) < time.Second/2 {
		return
	}
	r.shown = time.Now()
	fmt.Fprintf(r.progress, "\r%d lines", r.lines)
	if last {
		fmt.Fprintln(r.progress)
	}
}
