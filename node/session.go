package node

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"time"

	"herd/node/wire"
	"herd/places"
)

const (
	smallBuffer = 2 << 10  // a workspace's first
	largeBuffer = 16 << 10 // what a busy one reads at once
	fullReply   = 64 << 10 // of replies not yet written, before they are
	atOnce      = 64       // reports that are merged under one lock
	// asking is how long a WHATSAT may take in all, and unready how long of that it
	// waits for the server to get ready.
	asking  = 10 * time.Second
	unready = 5 * time.Second
	// lastAsking is how long after the beginning of a stop questions end: before grace
	// does, for what was read behind them is still to be answered and flooded.
	lastAsking = 6 * time.Second
	// restAfter is how long a client that has spoken says nothing before its session
	// rests.
	restAfter = time.Second / 2
)

var errRest = errors.New("the client has not said anything for a while")

// session is one client's connection. It belongs to one goroutine at a time. Idle
// clients are many, so while nothing comes it holds no more than the beginning of a
// line, and after a while it rests: a new goroutine, with a small stack, waits on.
type session struct {
	node   *Node
	conn   net.Conn
	await  func() error // reads into the workspace; see newReader
	remote string       // for logs

	*workspace        // nil while nothing comes
	rest       []byte // of what was read, meanwhile
	letGo      span   // see flooder
	skipping   bool   // within a line that was too long, and has been answered

	heard    time.Time // when a line was last complete, or the client came
	deadline time.Time // of reading, as it was set; zero: it is to be set anew
	awake    bool      // this goroutine has read something
	rests    bool      // it may rest, for it waits without a workspace
}

// workspace is what a session needs while it handles what its client says.
type workspace struct {
	in    []byte // what was read and not yet handled is in[start:end]
	start int
	end   int

	reports []wire.Command // IAMATs that were read and not yet merged
	lines   [][]byte       // theirs

	out     []byte    // replies not yet written
	ends    []int     // in out, of each reply; for the traffic log alone
	replies replies   // that out holds
	read    time.Time // when what they answer was
	err     error     // of writing: the client is gone
	tickets tickets   // of what they must wait for
	seat    seat
}

type tickets struct{ flood, journal ticket }

func newWorkspace() any {
	return &workspace{in: make([]byte, smallBuffer), seat: newSeat()}
}

func newSession(n *Node, conn net.Conn) *session {
	s := &session{node: n, conn: conn, remote: conn.RemoteAddr().String(), heard: time.Now()}
	s.await = s.newReader()
	s.setDeadline(s.heard) // an error here is one of reading too
	return s
}

// takeUp gives the session a workspace, if it has none.
func (s *session) takeUp() {
	if s.workspace != nil {
		return
	}
	s.workspace = s.node.workspaces.Get().(*workspace)
	if len(s.rest) >= len(s.in) { // no room to read more: a read into none looks like the end
		s.in = make([]byte, max(2*len(s.rest), smallBuffer))
	}
	s.start, s.end = 0, copy(s.in, s.rest)
	s.rest = nil
}

// layDown gives the workspace, emptied, to whoever needs one; the rest of what was
// read is kept.
func (s *session) layDown() {
	if s.start < s.end {
		s.rest = bytes.Clone(s.in[s.start:s.end])
	}
	w := s.workspace
	w.reports, w.lines, w.out, w.ends, w.replies, w.err, w.tickets = w.reports[:0], w.lines[:0], w.out[:0], w.ends[:0], replies{}, nil, tickets{}
	s.node.workspaces.Put(w)
	s.workspace = nil
}

// run serves the client until it or the server ends it, or the session rests.
func (s *session) run(ctx context.Context) (rest bool) {
	err := s.converse(ctx)
	if err == errRest {
		s.awake, s.deadline = false, time.Time{}
		s.setDeadline(time.Now()) // here, where the stack has grown; an error is one of reading too
		return true
	}
	part(s.conn)
	if s.workspace != nil {
		s.layDown()
	}
	s.log("client close", nil)
	if err != nil { // nobody waited for what was merged after a reply that could not be written
		s.node.spread()
	}
	if err != nil && ctx.Err() == nil {
		s.node.log.Debug("client lost", "client", s.remote, "err", err)
	}
	return false
}

// setDeadline lets the wait for the client end when it has been idle for too long, or
// when the session is to rest. It does nothing while the deadline that is set will
// do: setting it for each command would cost more than the command.
func (s *session) setDeadline(now time.Time) error {
	deadline := s.heard.Add(s.node.cfg.Limits.Idle)
	if rest := now.Add(restAfter); s.awake && s.rests && rest.Before(deadline) {
		deadline = rest
	}
	if !s.deadline.IsZero() && deadline.Sub(s.deadline).Abs() < deadline.Sub(now)/4 {
		return nil
	}
	s.deadline = deadline
	return s.conn.SetReadDeadline(deadline)
}

// mayGoOn tells whether the end of a wait is that of the deadline alone, before the
// client has been idle for too long.
func (s *session) mayGoOn(err error) bool {
	return errors.Is(err, os.ErrDeadlineExceeded) && time.Since(s.heard) < s.node.cfg.Limits.Idle
}

func (s *session) converse(ctx context.Context) error {
	now := time.Now()
	for {
		if err := s.setDeadline(now); err != nil {
			return err
		}
		if ctx.Err() != nil { // after setting the deadline, which may have undone endSessions'
			return nil
		}
		err := s.await()
		if s.mayGoOn(err) && ctx.Err() == nil {
			if s.awake && s.rests {
				return errRest
			}
			s.deadline, now = time.Time{}, time.Now()
			continue
		}
		s.awake = true
		s.takeUp() // if the wait ended with an error
		s.read = time.Now()
		lines := s.handleLines(ctx)
		if errors.Is(err, io.EOF) {
			s.handleLast(ctx)
		}
		s.mergeReports()
		if flushErr := s.flush(ctx); flushErr != nil {
			return flushErr
		}
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		}
		if now = time.Now(); lines > 0 {
			s.heard = now
		}
		s.makeRoom()
	}
}

// readBuffered reads once from the connection, and holds a workspace while it waits.
func (s *session) readBuffered() error {
	s.takeUp()
	n, err := s.conn.Read(s.in[s.end:])
	s.end += n
	return err
}

// handleLines handles all complete lines that were read, and what is too long to
// become one; it returns how many there were.
func (s *session) handleLines(ctx context.Context) (lines int) {
	limit := s.node.cfg.Limits.Line
	for {
		rest := s.in[s.start:s.end]
		length := bytes.IndexByte(rest, '\n')
		switch {
		case length < 0 && s.skipping:
			s.start = s.end
			return lines
		case length < 0 && len(rest) > limit:
			s.refuse(rest[:limit])
			s.skipping = true
			continue
		case length < 0:
			return lines
		case s.skipping:
			s.skipping = false
		case length > limit:
			s.refuse(rest[:limit])
		default:
			s.handle(ctx, rest[:length])
		}
		lines++
		s.start += length + 1
		if len(s.out) >= fullReply && s.flush(ctx) != nil {
			return lines // the client is gone
		}
	}
}

// handleLast handles a line that the end of the stream ends.
func (s *session) handleLast(ctx context.Context) {
	if s.start < s.end {
		s.handle(ctx, s.in[s.start:s.end])
		s.start = s.end
	}
}

// makeRoom makes room in the buffer for the next read. The buffer grows while
// reads fill it, to largeBuffer or what the longest line needs.
func (s *session) makeRoom() {
	full := s.end == len(s.in)
	s.end = copy(s.in, s.in[s.start:s.end])
	s.start = 0
	if most := max(largeBuffer, s.node.cfg.Limits.Line+1); full && len(s.in) < most {
		larger := make([]byte, min(2*len(s.in), most))
		copy(larger, s.in[:s.end])
		s.in = larger
	}
}

// handle answers one line; a report it only keeps, with others, for mergeReports.
func (s *session) handle(ctx context.Context, line []byte) {
	s.log("client in", line)
	c := wire.ParseCommand(line)
	if c.Verb == wire.IAmAt {
		s.reports, s.lines = append(s.reports, c), append(s.lines, line)
		if len(s.reports) == atOnce {
			s.mergeReports()
		}
		return
	}
	s.mergeReports()
	if c.Verb != wire.WhatsAt {
		s.out = wire.AppendInvalid(s.out, line)
		s.replied(invalid)
		return
	}
	if s.flush(ctx) != nil {
		return
	}
	s.whatsAt(ctx, c, line)
	s.replied(whatsAt)
}

// refuse answers a line that is too long with what may be kept of it.
func (s *session) refuse(line []byte) {
	s.mergeReports()
	s.log("client in", line)
	s.out = wire.AppendInvalid(s.out, line)
	s.replied(invalid)
}

// replied says that s.out ends with a whole reply to a command.
func (s *session) replied(to command) {
	s.replies[to]++
	if s.node.traffic != nil {
		s.ends = append(s.ends, len(s.out))
	}
}

// mergeReports merges the reports that were kept, at one reading of the wall clock,
// and answers them.
func (s *session) mergeReports() {
	if len(s.reports) == 0 {
		return
	}
	n := s.node
	n.mu.Lock()
	now := time.Now()
	n.replica.Expect(s.reports)
	for i, c := range s.reports {
		out, _, err := n.replica.IAmAt(s.out, c, now)
		if err == nil {
			s.out = append(out, '\n')
		} else { // full
			s.out = wire.AppendInvalid(s.out, s.lines[i])
		}
		s.replied(iAmAt)
	}
	s.tickets = tickets{ticket(n.replica.Wants()), ticket(n.replica.News())} // also if none was news: the records that won may still wait
	followed := n.takeFollowed()
	n.mu.Unlock()
	n.traceIn(followed, "record from client", "client", s.remote)
	s.reports, s.lines = s.reports[:0], s.lines[:0]
}

// whatsAt answers a WHATSAT. Earlier replies have been written: they must not
// wait for it.
func (s *session) whatsAt(ctx context.Context, c wire.Command, line []byte) {
	n := s.node
	began := time.Now()
	wait(ctx, n.ready.opened, unready)
	stored, ok := n.Record(c.Client)
	if !ok {
		s.out = wire.AppendInvalid(s.out, line)
		return
	}
	record, err := wire.ParseRecord(stored)
	if err != nil {
		panic("the map holds what is no record: " + string(stored)) // merge takes in parsed records only
	}
	lat, lon := record.Position()
	q := places.Query{Lat: lat, Lon: lon, Radius: c.Radius * 1000, Bound: c.Bound}
	s.out = append(append(s.out, stored...), '\n')
	if q.Empty() { // nobody is asked, and nothing waited for
		s.out = places.AppendResponse(ctx, s.out, n.cfg.Places, q)
		return
	}
	// A stop gives what was read some time to be answered, so it is not ctx that ends the question.
	whole, cancel := context.WithDeadline(n.questions, began.Add(asking))
	defer cancel()
	stop := s.watch(cancel)
	s.out = places.AppendResponse(whole, s.out, n.cfg.Places, q)
	if stop() {
		s.err = errVanished // nobody is there to be answered
	}
}

// flush writes the replies, once what they acknowledge has been flooded and is in
// the journal.
func (s *session) flush(ctx context.Context) error {
	if len(s.out) == 0 || s.err != nil {
		return s.err
	}
	s.node.awaitFlood(s.tickets.flood, s.seat, &s.letGo)
	if s.node.cfg.Journal != nil && !s.node.await(&s.node.journal, s.tickets.journal, s.seat, journalPatience) {
		s.err = errNotJournalled
		return s.err
	}
	if ctx.Err() == nil { // in a stop, endSessions has set the deadline
		s.conn.SetWriteDeadline(time.Now().Add(s.node.cfg.Limits.Write)) // an error here is one of Write too
	}
	_, s.err = s.conn.Write(s.out)
	if s.err == nil {
		s.node.replied(s.replies, time.Since(s.read))
	}
	s.replies = replies{}
	begin := 0
	for _, end := range s.ends {
		s.log("client out", s.out[begin:end-1])
		begin = end
	}
	s.ends = s.ends[:0]
	s.out = s.out[:0]
	if cap(s.out) > 2*fullReply {
		s.out = nil
	}
	return s.err
}

func (s *session) log(what string, line []byte) {
	if t := s.node.traffic; t != nil {
		t.write(what, s.remote, line)
	}
}
