package node

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"herd/node/replica"
	"herd/node/wire"
)

const (
	smallBuffer = 2 << 10  // of a new exchange
	largeBuffer = 16 << 10 // of a busy one
	fullReply   = 64 << 10 // bytes of replies that are written before more input is handled
	mergeAtOnce = 64       // reports that are merged under one lock
)

// exchange handles what one read of a session brought: it parses lines, merges reports
// and writes the replies. Exchanges are pooled: a session has one only while it handles
// input.
type exchange struct {
	s *session

	in         []byte // in[start:end] has been read and not yet handled
	start, end int

	reports []wire.Command // IAMATs that are parsed and not yet merged
	lines   [][]byte       // theirs

	out replyBatch // not yet written
	err error      // of the last reply: the client is gone

	// What the replies in out must wait for.
	floodSeq   uint64
	journalSeq uint64
	advice     flushAdvice
	waiter     waiter
}

func newExchange() any {
	return &exchange{in: make([]byte, smallBuffer), waiter: newWaiter()}
}

// begin makes the exchange a session's. partial is the incomplete line of the read
// before.
func (x *exchange) begin(s *session, partial []byte) {
	x.s = s
	if len(partial) >= len(x.in) { // there must be room to read more: a read of 0 bytes looks like the end
		x.in = make([]byte, max(2*len(partial), smallBuffer))
	}
	x.start, x.end = 0, copy(x.in, partial)
}

// reset forgets everything but the buffers.
func (x *exchange) reset() {
	if cap(x.out.text) > 2*fullReply {
		x.out.text = nil
	}
	// One by one: a composite literal would need more stack than an idle session has.
	x.s, x.err = nil, nil
	x.reports, x.lines = x.reports[:0], x.lines[:0]
	x.out.clear()
	x.floodSeq, x.journalSeq = 0, 0
}

// makeRoom makes room for the next read. The buffer grows while reads fill it, to
// largeBuffer or what the longest line needs.
func (x *exchange) makeRoom() {
	full := x.end == len(x.in)
	rest := x.rest()
	if most := max(largeBuffer, x.s.node.cfg.Limits.Line+1); full && len(x.in) < most {
		x.in = make([]byte, min(2*len(x.in), most))
	}
	x.start, x.end = 0, copy(x.in, rest)
}

// rest is the incomplete line at the end of the input.
func (x *exchange) rest() []byte { return x.in[x.start:x.end] }

// readFrom reads once from a connection.
func (x *exchange) readFrom(conn net.Conn) error {
	n, err := conn.Read(x.in[x.end:])
	x.end += n
	return err
}

// handle handles all complete lines and writes their replies. If eof is set, the rest is
// a line too. It returns the number of lines, and the error of the first reply that could
// not be written.
func (x *exchange) handle(ctx context.Context, eof bool) (lines int, err error) {
	x.out.read = time.Now()
	lines = x.handleLines(ctx)
	if eof && x.start < x.end && x.err == nil {
		x.handleLine(ctx, x.rest())
		x.start = x.end
	}
	x.mergeReports()
	return lines, x.reply()
}

// handleLines handles all complete lines, and the beginning of a line that is too long.
func (x *exchange) handleLines(ctx context.Context) (lines int) {
	limit := x.s.node.cfg.Limits.Line
	for {
		rest := x.rest()
		length := bytes.IndexByte(rest, '\n')
		switch {
		case length < 0 && x.s.skipping:
			x.start = x.end
			return lines
		case length < 0 && len(rest) > limit:
			x.refuse(rest[:limit])
			x.s.skipping = true
			continue
		case length < 0:
			return lines
		case x.s.skipping:
			x.s.skipping = false
		case length > limit:
			x.refuse(rest[:limit])
		default:
			x.handleLine(ctx, rest[:length])
		}
		lines++
		x.start += length + 1
		if len(x.out.text) >= fullReply {
			if x.reply() != nil {
				return lines
			}
			x.s.takeTurn()
		} else if lines%turn == 0 {
			x.s.endTurn()
			x.s.takeTurn()
		}
	}
}

// handleLine answers one line. A report is only kept, to be merged with others.
func (x *exchange) handleLine(ctx context.Context, line []byte) {
	x.s.log("client in", line)
	c := wire.ParseCommand(line)
	switch c.Verb {
	case wire.IAmAt:
		if !x.s.mayReport(c.Client) {
			x.refuseReport(c, line)
			break
		}
		x.reports, x.lines = append(x.reports, c), append(x.lines, line)
		if len(x.reports) == mergeAtOnce {
			x.mergeReports()
		}
	case wire.WhatsAt:
		x.mergeReports()
		x.whatsAt(ctx, c, line)
	default:
		x.mergeReports()
		x.out.text = wire.AppendInvalid(x.out.text, line)
		x.replied(invalid)
	}
}

// refuse answers a line that is too long with its beginning.
func (x *exchange) refuse(line []byte) {
	x.mergeReports()
	x.s.log("client in", line)
	x.out.text = wire.AppendInvalid(x.out.text, line)
	x.replied(invalid)
	x.s.node.refuse(longLine, 1, x.s.remote, nil)
}

// refuseReport answers a report as a client that the certificate does not name.
func (x *exchange) refuseReport(c wire.Command, line []byte) {
	x.mergeReports()
	x.out.text = wire.AppendInvalid(x.out.text, line)
	x.replied(iAmAt)
	x.s.node.refuse(otherName, 1, x.s.remote, fmt.Errorf("the certificate of %.80q reports as %.80q", x.s.certificate, c.Client))
}

// replied notes that out ends with a complete reply.
func (x *exchange) replied(to command) { x.out.replied(to, x.s.node.traffic != nil) }

// mergeReports merges the reports that were kept, at one reading of the wall clock, and
// answers them.
func (x *exchange) mergeReports() {
	if len(x.reports) == 0 {
		return
	}
	n := x.s.node
	if x.s.later != nil {
		x.s.later.findRecords(x.reports)
	}
	merged, refused := n.merge(x)
	for why, times := range refused {
		n.refuse(why, times, x.s.remote, nil)
	}
	n.traceMerged(merged, "record from client", "client", x.s.remote)
	x.reports, x.lines = x.reports[:0], x.lines[:0]
}

// merge merges the reports of an exchange and appends their replies. refused counts those
// that are not in the map because of a limit; it is nil if there are none.
func (n *Node) merge(x *exchange) (merged []mergedRecord, refused map[refusal]int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	now := time.Now()
	if len(x.reports) > 1 {
		n.replica.Prefetch(x.reports)
	}
	for i, c := range x.reports {
		out, _, err := n.replica.IAmAt(x.out.text, c, now)
		if err == nil {
			x.out.text = append(out, '\n')
		} else {
			x.out.text = wire.AppendInvalid(x.out.text, x.lines[i])
			if refused == nil {
				refused = map[refusal]int{}
			}
			refused[refusalOf(err)]++
		}
		x.replied(iAmAt)
	}
	// Also if none was news: the records that won may still be queued.
	x.floodSeq, x.journalSeq = n.replica.FloodSeq(), n.replica.JournalSeq()
	n.batch.Member(&x.s.batchGroup)
	x.advice = n.adviseFlush(len(n.flushed.waiting)+1, now)
	n.noteUnsaved(now)
	return n.takeMerged(), refused
}

// refusalOf is the reason for an error of Replica.IAmAt.
func refusalOf(err error) refusal {
	switch {
	case errors.Is(err, replica.ErrTooManyClients):
		return tooManyClients
	case errors.Is(err, replica.ErrFull):
		return mapFull
	}
	return longLine // replica.ErrTooLong
}

// reply writes the replies once the records that they acknowledge have been flooded and
// are in the journal. Behind a lookup of places it only queues them then.
func (x *exchange) reply() error {
	if len(x.out.text) == 0 || x.err != nil {
		return x.err
	}
	x.s.endTurn()
	n := x.s.node
	if x.floodSeq > 0 {
		n.awaitFlood(x.floodSeq, x.advice, &x.waiter)
		x.floodSeq = 0
	}
	if x.journalSeq > 0 && n.journal != nil {
		if x.err = n.awaitJournal(x.journalSeq, &x.waiter); x.err != nil {
			return x.err
		}
		x.journalSeq = 0
	}
	x.err = x.s.reply(&x.out)
	x.out.clear()
	return x.err
}

// sample is the input that is being handled, for logs: the reports that are not merged
// yet, and what follows.
func (x *exchange) sample() string {
	const most = 8 << 10
	input := append(bytes.Join(x.lines, []byte("\n")), '\n')
	input = append(input, x.rest()...)
	return string(input[:min(len(input), most)])
}
