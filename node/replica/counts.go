package replica

import "time"

// Counts is what came and went over one edge since the server started. It is
// counted by the frame, not by the record, wherever that is possible.
type Counts struct {
	MessagesIn, MessagesOut uint64 // of records
	BytesIn, BytesOut       uint64 // of those messages' data
	Lost                    uint64 // messages of the neighbour's that are known not to have come

	News, Duplicates, Stale uint64 // records in, by what merging them came to
	Bad                     uint64 // lines in that were no records
	Out                     uint64 // records out

	Repairs, Abandoned uint64 // comparisons that ended, and that were given up
	// What answers brought to our comparisons: lines, of those news, and bytes.
	RepairLines, RepairNews, RepairBytes uint64
}

// Counts is what came and went over edge e.
func (r *Replica) Counts(e int) Counts { return r.edges[e].counts }

// Reports counts what clients' reports came to. Full is those of new clients that
// were refused because the map is full.
type Reports struct {
	News, Duplicates, Stale, Full uint64
}

// Reports is what clients' reports came to since the server started.
func (r *Replica) Reports() Reports {
	return Reports{News: r.reports[News], Duplicates: r.reports[Duplicate], Stale: r.reports[Stale], Full: r.full}
}

// Skew is how far the clock of the neighbour at edge e is ahead of ours, and
// whether enough beats have told.
func (r *Replica) Skew(e int) (ahead time.Duration, known bool) { return r.edges[e].skew() }

// frameIn counts a frame that came in.
func (c *Counts) frameIn(in Intake, bytes int) {
	c.MessagesIn++
	c.BytesIn += uint64(bytes)
	c.News += uint64(in.News)
	c.Duplicates += uint64(in.Duplicates)
	c.Stale += uint64(in.Stale)
	c.Bad += uint64(in.Bad)
}

// frameOut counts a frame that was sent.
func (c *Counts) frameOut(lines, bytes int) {
	c.MessagesOut++
	c.BytesOut += uint64(bytes)
	c.Out += uint64(lines)
}
