package replica

import (
	"fmt"
	"time"

	"herd/node/store"
)

// Counts counts what crossed one edge since the server started. Wherever possible it is
// kept per frame, not per record.
type Counts struct {
	MessagesIn, MessagesOut uint64 // of records
	BytesIn, BytesOut       uint64 // of those messages' data
	Lost                    uint64 // messages of the neighbour that are known to be lost

	News, Duplicates, Stale uint64 // records received, by the result of merging them
	Malformed               uint64 // lines received that were no records
	NoRoom                  uint64 // records received for which the map had no room
	Offences                uint64 // messages that broke the protocol, see quarantine.go
	Out                     uint64 // records sent

	Repairs, Abandoned uint64 // comparisons that ended, and that were given up
	// Received by our comparisons: lines, those of them that were news, and bytes.
	RepairLines, RepairNews, RepairBytes uint64
}

// frameIn counts a frame that was received.
func (c *Counts) frameIn(f FrameResult, bytes int) {
	c.MessagesIn++
	c.BytesIn += uint64(bytes)
	c.News += uint64(f.News)
	c.Duplicates += uint64(f.Duplicates)
	c.Stale += uint64(f.Stale)
	c.Malformed += uint64(f.Malformed)
	c.NoRoom += uint64(f.Refused)
}

// frameOut counts a frame that was sent.
func (c *Counts) frameOut(lines, bytes int) {
	c.MessagesOut++
	c.BytesOut += uint64(bytes)
	c.Out += uint64(lines)
}

// Reports counts reports of clients by their result. Refused counts those that were refused
// because the map is full.
type Reports struct {
	News, Duplicates, Stale, Refused uint64
}

// Reports counts the reports of clients since the server started.
func (r *Replica) Reports() Reports {
	return Reports{News: r.reports[store.News], Duplicates: r.reports[store.Duplicate], Stale: r.reports[store.Stale], Refused: r.refused + r.reports[store.Refused]}
}

// TooLarge is the number of records that neighbours do not have now because the bus takes
// no message of their size, added up over the edges.
func (r *Replica) TooLarge() (records int) {
	for _, d := range r.edges {
		records += d.unsendable.length
	}
	return records
}

// Unsendable is how often a record was dropped from the queue of some edge because the bus
// takes no message of its size.
func (r *Replica) Unsendable() (records uint64) {
	for _, d := range r.edges {
		records += d.dropped
	}
	return records
}

// EdgeInfo describes one edge for operators.
type EdgeInfo struct {
	Peer                  string // "" for an edge that was removed
	Up, InStep, Comparing bool
	// Problem says in one line why the edge cannot be used or compared, or how the neighbour
	// differs from us; "" for none of these. Refused says that it cannot be used: the neighbour lists no
	// edge with us, or its format is not ours.
	Problem string
	Refused bool
	// SameTopology says that the neighbour's last heartbeat had the hash of our topology.
	SameTopology bool
	// Records that cannot cross the edge now, because they are larger than the messages
	// that the bus takes: ours, and the neighbour's by its last heartbeat.
	Unsendable, TheirUnsendable int
	Deferred                    int           // records of new clients that are not sent because the neighbour's map is full
	Quarantined                 bool          // we ignore the neighbour: Problem says why
	Queued                      int           // records to send, without the delayed ones
	HeartbeatAge                time.Duration // since the neighbour's last heartbeat; -1 for none yet
	Skew                        time.Duration // how far the neighbour's clock is ahead
	SkewKnown                   bool
	Counts
}

// Edge describes edge e.
func (r *Replica) Edge(e int, now time.Time) EdgeInfo {
	d := r.edges[e]
	info := EdgeInfo{
		Peer: r.Peer(e), Up: d.up, InStep: r.InStep(e), Comparing: r.Comparing(e), Problem: d.problem(), Refused: d.difference.refused(),
		SameTopology: !d.heard.IsZero() && d.heartbeat.Topology == r.topology.Hash,
		Unsendable:   d.unsendable.length, TheirUnsendable: d.heartbeat.Unsendable, Deferred: d.deferred.length, Queued: d.queued(), HeartbeatAge: -1, Counts: d.counts,
	}
	if !d.heard.IsZero() {
		info.HeartbeatAge = now.Sub(d.heard)
	}
	if info.Refused && info.HeartbeatAge >= DownAfter { // it is down, whatever it said last
		info.Refused, info.Problem = false, ""
	}
	info.Skew, info.SkewKnown = d.clock.skew()
	switch {
	case d.quarantined(now):
		info.Quarantined, info.Refused, info.Problem = true, false, d.conduct.describe(d.peer)
	case info.Problem == "" && d.heartbeat.Full:
		info.Problem = fmt.Sprintf("the map of %s is full: it takes no new clients", d.peer)
	}
	if info.Problem == "" && d.sync.fruitless >= fruitlessTries {
		info.Problem = fmt.Sprintf("%s does not complete our comparisons: %d were given up", d.peer, d.sync.fruitless)
	}
	return info
}
