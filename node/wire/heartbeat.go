package wire

import (
	"bytes"
	"fmt"
	"strconv"
)

// Format is the version of records, frames and beats. Servers of unequal
// formats keep the edge between them down.
const Format = 1

// Heartbeat is the heartbeat of one edge, said by one of its ends about itself.
type Heartbeat struct {
	Epoch    uint64 // the sender's start; any other value is another life
	Seq      uint64 // number of the last message sent on this edge
	Merged   Mark   // the last message merged from the other side
	Records  int    // clients held
	Digest   uint64 // of all records held: equal for equal maps
	Clock    Instant
	Format   int
	Topology uint64 // hash of the graph that the sender believes in
	Ready    bool   // the sender is
	Answer   bool   // a beat is wanted back at once
	Bye      bool   // the sender is stopping cleanly: do not wait for it
}

// Mark names one message of an edge: the sender's epoch and its number. The
// zero Mark names none.
type Mark struct {
	Epoch, Seq uint64
}

// Append appends b as one line of key=value pairs, without LF: it travels as
// the whole payload of a message and is meant to be read by people too.
func (b Heartbeat) Append(dst []byte) []byte {
	merged := "-"
	if b.Merged != (Mark{}) {
		merged = fmt.Sprintf("%d/%d", b.Merged.Epoch, b.Merged.Seq)
	}
	dst = fmt.Appendf(dst, "epoch=%d seq=%d merged=%s records=%d digest=%016x clock=%s format=%d topology=%016x",
		b.Epoch, b.Seq, merged, b.Records, b.Digest, b.Clock, b.Format, b.Topology)
	if b.Ready {
		dst = append(dst, " ready"...)
	}
	if b.Answer {
		dst = append(dst, " answer"...)
	}
	if b.Bye {
		dst = append(dst, " bye"...)
	}
	return dst
}

// ParseHeartbeat reads what Append wrote. Unknown keys are skipped, so that a later
// format can be told from this one; a missing or malformed known key is an
// error.
func ParseHeartbeat(line []byte) (Heartbeat, error) {
	var b Heartbeat
	need := map[string]bool{"epoch": true, "seq": true, "merged": true, "records": true, "digest": true, "clock": true, "format": true, "topology": true}
	for _, pair := range bytes.Split(line, []byte(" ")) {
		k, v, _ := bytes.Cut(pair, []byte("="))
		key, value := string(k), string(v)
		var err error
		switch key {
		case "epoch":
			b.Epoch, err = strconv.ParseUint(value, 10, 64)
		case "seq":
			b.Seq, err = strconv.ParseUint(value, 10, 64)
		case "merged":
			b.Merged, err = parseMark(value)
		case "records":
			b.Records, err = strconv.Atoi(value)
		case "digest":
			b.Digest, err = strconv.ParseUint(value, 16, 64)
		case "clock":
			var ok bool
			if b.Clock, ok = parseTime(v); !ok {
				err = strconv.ErrSyntax
			}
		case "format":
			b.Format, err = strconv.Atoi(value)
		case "topology":
			b.Topology, err = strconv.ParseUint(value, 16, 64)
		case "ready":
			b.Ready = true
		case "answer":
			b.Answer = true
		case "bye":
			b.Bye = true
		}
		if err != nil {
			return Heartbeat{}, fmt.Errorf("beat: %s: %w", key, err)
		}
		delete(need, key)
	}
	if len(need) > 0 {
		return Heartbeat{}, fmt.Errorf("beat: %d of its keys are missing", len(need))
	}
	return b, nil
}

func parseMark(s string) (m Mark, err error) {
	if s == "-" {
		return Mark{}, nil
	}
	epoch, seq, _ := bytes.Cut([]byte(s), []byte("/"))
	if m.Epoch, err = strconv.ParseUint(string(epoch), 10, 64); err != nil {
		return Mark{}, err
	}
	m.Seq, err = strconv.ParseUint(string(seq), 10, 64)
	return m, err
}
