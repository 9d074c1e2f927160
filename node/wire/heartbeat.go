package wire

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
)

// Format is the version of records, frames and heartbeats. An edge stays down while its
// two servers have different formats.
const Format = 2

// Heartbeat is a heartbeat on one edge. It describes its sender.
type Heartbeat struct {
	Epoch    uint64  // identifies this run of the sender
	Seq      uint64  // sequence number of the last frame that it sent on this edge
	Merged   Mark    // last frame of the receiver before which it misses none
	Records  int     // clients in its map
	Digest   uint64  // of its records: equal for equal maps
	Clock    Instant // its wall clock
	Format   int     // its Format
	Topology uint64  // hash of its graph
	Ready    bool    // it is ready
	Answer   bool    // the receiver shall send a heartbeat at once
	Bye      bool    // it is stopping: the edge goes down
	NoEdge   bool    // its topology has no edge to the receiver: the edge stays down
	NoRepair bool    // repair is off: it neither compares maps nor answers requests
	Full     bool    // its map has refused records: those of new clients need not be sent
	// Quarantined says that it ignores the receiver for a while, whose messages broke the
	// protocol.
	Quarantined bool

	Clocks     Clocks // of its other neighbours; zero if it does not say
	Unsendable int    // records that it cannot send the receiver: the bus takes no message of their size

	Keep  int64 // seconds after which it lets records expire; 0: never
	Floor int64 // it has no records of slots before this one, and takes none; 0 for none. See SlotSeconds
}

// SlotSeconds is the length of a slot. Slots divide the time of receipts; records expire by slots. It is part
// of the format.
const SlotSeconds = 60

// Clocks counts the clocks of a server's neighbours that are up, without the receiver of
// the heartbeat: those that it can compare with its own, and those of them that agree.
type Clocks struct {
	Agree, Known int
}

// Mark identifies one frame on an edge: the sender's epoch and the frame's sequence
// number. The zero Mark is no frame.
type Mark struct {
	Epoch, Seq uint64
}

// Append appends h as one line of key=value pairs, without LF. The line is the whole
// payload of a message. It is text so that people can read it too.
func (h Heartbeat) Append(dst []byte) []byte {
	merged := "-"
	if h.Merged != (Mark{}) {
		merged = fmt.Sprintf("%d/%d", h.Merged.Epoch, h.Merged.Seq)
	}
	dst = fmt.Appendf(dst, "epoch=%d seq=%d merged=%s records=%d digest=%016x clock=%s format=%d topology=%016x",
		h.Epoch, h.Seq, merged, h.Records, h.Digest, h.Clock, h.Format, h.Topology)
	if h.Clocks != (Clocks{}) {
		dst = fmt.Appendf(dst, " clocks=%d/%d", h.Clocks.Agree, h.Clocks.Known)
	}
	if h.Unsendable > 0 {
		dst = fmt.Appendf(dst, " unsendable=%d", h.Unsendable)
	}
	if h.Keep != 0 {
		dst = fmt.Appendf(dst, " keep=%d", h.Keep)
	}
	if h.Floor != 0 {
		dst = fmt.Appendf(dst, " floor=%d", h.Floor)
	}
	if h.Ready {
		dst = append(dst, " ready"...)
	}
	if h.Answer {
		dst = append(dst, " answer"...)
	}
	if h.Bye {
		dst = append(dst, " bye"...)
	}
	if h.NoEdge {
		dst = append(dst, " noedge"...)
	}
	if h.NoRepair {
		dst = append(dst, " norepair"...)
	}
	if h.Full {
		dst = append(dst, " full"...)
	}
	if h.Quarantined {
		dst = append(dst, " quarantined"...)
	}
	return dst
}

// ParseHeartbeat parses what Append wrote. It skips unknown keys, so that it can read the
// format number of a later version. A known key that is malformed is an error, and so is a
// missing one, except those that earlier versions did not write: clocks, unsendable, keep and floor.
func ParseHeartbeat(line []byte) (Heartbeat, error) {
	var h Heartbeat
	missing := map[string]bool{"epoch": true, "seq": true, "merged": true, "records": true, "digest": true, "clock": true, "format": true, "topology": true}
	for _, pair := range bytes.Split(line, []byte(" ")) {
		k, v, _ := bytes.Cut(pair, []byte("="))
		key, value := string(k), string(v)
		var err error
		switch key {
		case "epoch":
			h.Epoch, err = strconv.ParseUint(value, 10, 64)
		case "seq":
			h.Seq, err = strconv.ParseUint(value, 10, 64)
		case "merged":
			h.Merged, err = parseMark(value)
		case "records":
			h.Records, err = parseCount(value)
		case "digest":
			h.Digest, err = strconv.ParseUint(value, 16, 64)
		case "clock":
			var ok bool
			if h.Clock, ok = parseTime(v); !ok {
				err = strconv.ErrSyntax
			}
		case "format":
			h.Format, err = strconv.Atoi(value)
		case "topology":
			h.Topology, err = strconv.ParseUint(value, 16, 64)
		case "ready":
			h.Ready = true
		case "answer":
			h.Answer = true
		case "bye":
			h.Bye = true
		case "noedge":
			h.NoEdge = true
		case "norepair":
			h.NoRepair = true
		case "full":
			h.Full = true
		case "quarantined":
			h.Quarantined = true
		case "clocks":
			h.Clocks, err = parseClocks(value)
		case "unsendable":
			h.Unsendable, err = parseCount(value)
		case "keep":
			h.Keep, err = parseSeconds(value)
		case "floor":
			h.Floor, err = parseSlot(value)
		}
		if err != nil {
			return Heartbeat{}, fmt.Errorf("heartbeat: %s: %w", key, err)
		}
		delete(missing, key)
	}
	if len(missing) > 0 {
		return Heartbeat{}, fmt.Errorf("heartbeat: keys are missing: %d", len(missing))
	}
	return h, nil
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

func parseClocks(s string) (c Clocks, err error) {
	agree, known, _ := strings.Cut(s, "/")
	if c.Agree, err = parseCount(agree); err != nil {
		return Clocks{}, err
	}
	if c.Known, err = parseCount(known); err == nil && c.Agree > c.Known {
		err = strconv.ErrRange
	}
	return c, err
}

// parseSeconds parses a number of seconds for which records are kept.
func parseSeconds(s string) (int64, error) {
	n, err := strconv.ParseUint(s, 10, 53)
	return int64(n), err
}

// parseSlot parses a slot. Those of years after 10,000 are none.
func parseSlot(s string) (int64, error) {
	n, err := strconv.ParseUint(s, 10, 32)
	return int64(n), err
}

// parseCount parses a number of things, which is not negative.
func parseCount(s string) (int, error) {
	n, err := strconv.ParseUint(s, 10, 31)
	return int(n), err
}
