package follow

import (
	"bytes"
	"fmt"
	"strings"

	"herd/node/wire"
)

// Follower is what a tool knows from following servers: the newest records that it was told. It begins
// empty. When a stream breaks, Restart begins the next one, at the same server or another: what its snapshot does
// not have is dropped. A Follower is not safe for concurrent use.
type Follower struct {
	filter  *Filter
	records map[string]string // lines, by client; with an area, of the clients inside
	before  map[string]string // during a snapshot, the records from before it that it has not confirmed; else nil
	epoch   uint64            // of the stream; 0 before its first frame
	seq     uint64            // of the last frame with lines
}

// NewFollower makes a Follower for streams of a filter, which decides about enter and leave.
func NewFollower(filter *Filter) *Follower {
	return &Follower{filter: filter, records: map[string]string{}, before: map[string]string{}}
}

// Kind is how a client has changed for a follower.
type Kind uint8

// The kinds.
const (
	Enter Kind = iota // the follower did not know the client, or it was outside the area
	Move              // a newer record of a client that the follower knows
	Leave             // the client is outside the area, or is unknown from now on
)

func (k Kind) String() string { return [...]string{"enter", "move", "leave"}[k] }

// Change is one change of what a follower knows.
type Change struct {
	Kind   Kind
	Client string
	Line   string // the record, without LF; "" for a client that is unknown from now on
}

// Records is the lines that the follower knows, by client, without LF. They change with the next Frame.
func (f *Follower) Records() map[string]string { return f.records }

// Complete reports whether the snapshot has ended, so that Records is what the server has.
func (f *Follower) Complete() bool { return f.before == nil }

// Frame takes a frame of lines, each with its LF, and calls do with each change. It returns an error if a frame is
// missing, or a line is malformed: then the stream is of no more use.
func (f *Follower) Frame(m wire.Mark, snapshotEnd bool, lines []byte, do func(Change)) error {
	next := f.seq
	if len(lines) > 0 || snapshotEnd {
		next++
	}
	if f.epoch == 0 {
		f.epoch = m.Epoch
	}
	if m.Epoch != f.epoch || m.Seq != next {
		return fmt.Errorf("frames of the stream were lost: expected number %d of epoch %d, received number %d of epoch %d", next, f.epoch, m.Seq, m.Epoch)
	}
	f.seq = next
	for line := range bytes.Lines(lines) {
		if err := f.line(string(bytes.TrimSuffix(line, []byte("\n"))), do); err != nil {
			return err
		}
	}
	if snapshotEnd {
		for client := range f.before {
			do(Change{Leave, client, ""})
		}
		f.before = nil
	}
	return nil
}

// line takes one line of a frame.
func (f *Follower) line(line string, do func(Change)) error {
	if client, ok := cutUnknown(line); ok {
		if f.forget(client) {
			do(Change{Leave, client, ""})
		}
		return nil
	}
	rec, err := wire.ParseRecord([]byte(line))
	if err != nil {
		return fmt.Errorf("a line of the stream is not a record: %.200q", line)
	}
	client := string(rec.Client())
	if rec.IsTombstone() {
		if f.forget(client) {
			do(Change{Leave, client, ""})
		}
		return nil
	}
	held := f.records[client]
	if held == "" {
		held = f.before[client]
	}
	inside := !f.filter.ByArea() || f.filter.Inside(rec.Position())
	known := f.forget(client)
	if inside {
		f.records[client] = line
	}
	switch {
	case inside && !known:
		do(Change{Enter, client, line})
	case inside && held != line:
		do(Change{Move, client, line})
	case !inside && known:
		do(Change{Leave, client, line})
	}
	return nil
}

// forget removes a client and reports whether it was known.
func (f *Follower) forget(client string) bool {
	_, known := f.records[client]
	_, before := f.before[client]
	delete(f.records, client)
	delete(f.before, client)
	return known || before
}

// Restart begins a new stream.
func (f *Follower) Restart() {
	if f.before == nil {
		f.before = map[string]string{}
	}
	for client, line := range f.records {
		f.before[client] = line
	}
	f.records, f.epoch, f.seq = map[string]string{}, 0, 0
}

// Unknown begins a line about a client that is unknown from then on. The client follows.
const Unknown = "- "

// cutUnknown is the client of such a line.
func cutUnknown(line string) (client string, ok bool) {
	client, ok = strings.CutPrefix(line, Unknown)
	return client, ok && client != ""
}
