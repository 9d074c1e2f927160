package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"herd/bus"
	"herd/bus/natsbus"
	"herd/node/status"
	"herd/node/wire"
)

type dumpCommand struct {
	Server string       `placeholder:"NAME" predictor:"server" help:"The server whose map to print (default: the first that replies)."`
	Format recordFormat `default:"text" enum:"text,json,geojson" help:"text: records; json: an object per line; geojson: a feature collection."`
}

// Help is shown by herd dump --help.
func (dumpCommand) Help() string {
	return `It prints all records of one server, in no order. herd restore takes text and JSON. Example:

    herd dump > herd.txt`
}

// Run prints the map of one server.
func (d dumpCommand) Run(ctx context.Context, c console) error {
	s, err := loadSettings(func(c *checker, s settings) {
		c.hasSeeds(s, s.readUser())
		if d.Server != "" {
			c.isServer("--server", d.Server, s)
		}
	})
	if err != nil {
		return err
	}
	servers := s.graph.Servers()
	if d.Server != "" {
		servers = []string{d.Server}
	}
	w := dumpWriter{format: d.Format, out: bufio.NewWriterSize(c.stdout, 1<<20)}
	if isTerminal(c.stdout) {
		w.out.Reset(c.Out)
	} else if c.terminal != nil {
		w.progress = c.terminal
	}
	err = untilInterrupted(ctx, func() error { return w.first(ctx, s, servers) })
	switch {
	case errors.Is(err, errAbandoned):
		return fmt.Errorf("dump: %w", err)
	case ctx.Err() != nil:
		return fmt.Errorf("dump: interrupted after %d records", w.records)
	case err != nil && w.begun && !w.failed:
		return fmt.Errorf("dump: incomplete, after %d records: %w", w.records, busHint(err))
	case err != nil:
		return fmt.Errorf("dump: %w", busHint(err))
	}
	return nil
}

// first writes the map of the first server that replies.
func (w *dumpWriter) first(ctx context.Context, s settings, servers []string) (err error) {
	for _, server := range servers {
		if err = w.dump(ctx, s, server); err == nil || w.begun {
			break
		}
	}
	w.showProgress(true)
	if flushing := w.out.Flush(); flushing != nil { // also what there is of a map that is incomplete: whole lines
		w.failed = true
		return flushing
	}
	return err
}

// dumpWriter writes a map in a format.
type dumpWriter struct {
	format   recordFormat
	out      *bufio.Writer
	progress io.Writer // a terminal; nil for none
	shown    time.Time // when progress was last written

	begun   bool // something was written
	failed  bool // the output does not take it
	records int
	buffer  []byte
}

// errComplete ends a stream that is complete.
var errComplete = errors.New("complete")

// dump writes the map of one server.
func (w *dumpWriter) dump(ctx context.Context, s settings, server string) error {
	next := uint64(1)
	err := natsbus.Follow(ctx, s.busConfig(s.busURLs(), s.readUser()), status.DumpEndpoint, server, nil, func(f natsbus.Frame) error {
		if len(f.Data) == 0 && !f.SnapshotEnd {
			return nil // it says that the server is still there
		}
		if f.Seq != next {
			return fmt.Errorf("%w: messages of %s were lost", bus.ErrUnavailable, server)
		}
		next++
		if err := w.frame(f.Data); err != nil || !f.SnapshotEnd {
			return err
		}
		return errComplete
	})
	if !errors.Is(err, errComplete) {
		return err
	}
	return w.end()
}

// collectionHead and collectionEnd are around the features of a GeoJSON feature collection.
const (
	collectionHead = `{"type":"FeatureCollection","features":[`
	collectionEnd  = "\n]}\n"
)

// frame writes the lines of a frame.
func (w *dumpWriter) frame(lines []byte) error {
	w.begin()
	defer w.showProgress(false)
	if w.format == textFormat {
		w.records += bytes.Count(lines, []byte("\n"))
		_, err := w.out.Write(lines)
		return err
	}
	for line := range bytes.Lines(lines) {
		record, err := wire.ParseRecord(bytes.TrimSuffix(line, []byte("\n")))
		if err != nil {
			return fmt.Errorf("a line of the dump is not a record: %.200q", line)
		}
		if record.IsTombstone() && w.format == geoJSONFormat {
			continue // it is nowhere
		}
		w.buffer = w.buffer[:0]
		if w.format == geoJSONFormat {
			w.buffer = append(w.buffer, map[bool]string{true: "\n", false: ",\n"}[w.records == 0]...)
		}
		w.buffer = w.format.appendObject(w.buffer, printedRecord{client: record.Client(), record: &record})
		if w.format == jsonFormat {
			w.buffer = append(w.buffer, '\n')
		}
		w.records++
		if _, err := w.out.Write(w.buffer); err != nil {
			return err
		}
	}
	return nil
}

// begin writes what comes before all records, once.
func (w *dumpWriter) begin() {
	if !w.begun && w.format == geoJSONFormat {
		w.out.WriteString(collectionHead) // Flush returns the error
	}
	w.begun = true
}

// end writes what comes behind all records.
func (w *dumpWriter) end() error {
	if w.format == geoJSONFormat {
		w.out.WriteString(collectionEnd) // Flush returns the error
	}
	return nil
}

// showProgress says how many records were written, twice a second.
func (w *dumpWriter) showProgress(last bool) {
	if w.progress == nil || !w.begun || !last && time.Since(w.shown) < time.Second/2 {
		return
	}
	w.shown = time.Now()
	fmt.Fprintf(w.progress, "\r%d records", w.records)
	if last {
		fmt.Fprintln(w.progress)
	}
}
