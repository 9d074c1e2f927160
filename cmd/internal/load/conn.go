package load

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync/atomic"
	"time"
)

// target is a server that is written to.
type target struct {
	address string
	name    atomic.Pointer[string] // as its first reply says; all others must say the same
}

// conn is one connection of a load, with clients of its own: its number and on, in
// steps of all connections. The commands in flight are those from done to sent, in
// slots and lines at their number modulo the depth. One goroutine receives; the
// same sends, or, at a given rate, another.
type conn struct {
	run    *run
	number int
	target *target
	socket *net.TCPConn

	slots []slot
	lines []byte // a line of the language for each slot
	sent  atomic.Uint64
	done  atomic.Uint64
	over  atomic.Bool // nothing more is received

	// The sender's part.
	left  int       // commands that may still be sent
	next  int       // client whose turn it is
	round int       // how often all had theirs
	stamp int64     // of the last IAMAT: the next is later
	owed  float64   // WHATSATs
	asked command   // the last IAMAT
	told  time.Time // when the deadline for writing was last set

	// The receiver's part.
	in        []byte // read and not yet checked: in[start:end]
	start     int
	end       int
	begin     []byte // of acknowledgements, once the server's name is known
	scratch   []byte // a record
	body      []byte // of the last right answer to a WHATSAT
	last      []last // of each client
	latencies Histogram
	updates   int // acknowledged
	wrong     int
	heard     time.Time // when the deadline for reading was last set
	err       error
}

// slot is a command in flight.
type slot struct {
	command
	due time.Duration // since the start: when it was sent, or was to be
}

// last is the last reply to a client: the record that all servers must end with.
type last struct {
	stamp      int64 // 0: none
	difference [maxDifference]byte
	length     uint8 // of the difference
	place      uint8
	unsure     bool // a later command was not answered, or not rightly
}

// tooWrong is after how many wrong replies a connection gives up.
const tooWrong = 100

func (r *run) dial(number int, t *target) (*conn, error) {
	dialer := net.Dialer{Timeout: r.cfg.Patience}
	socket, err := dialer.DialContext(r.ctx, "tcp", t.address)
	if err != nil {
		return nil, err // it names the address
	}
	depth := r.cfg.Pipeline
	share := func(n int) int { return (n - number + r.cfg.Connections - 1) / r.cfg.Connections }
	const leastReply = 4 << 10 // an answer to a WHATSAT, and a message of error, must fit
	return &conn{
		run: r, number: number, target: t, socket: socket.(*net.TCPConn),
		slots: make([]slot, depth),
		lines: make([]byte, depth*r.language.length),
		in:    make([]byte, min(leastReply+depth*2*r.language.length, 128<<10)),
		last:  make([]last, share(r.cfg.Clients)),
		left:  max(0, share(r.cfg.Count)),
	}, nil
}

// client is the number of the connection's client at index i of c.last.
func (c *conn) client(i int) uint32 { return uint32(c.number + i*c.run.cfg.Connections) }

// index is the place in c.last of one of the connection's clients.
func (c *conn) index(client uint32) int { return (int(client) - c.number) / c.run.cfg.Connections }

// room is how many commands may be sent now.
func (c *conn) room() int { return len(c.slots) - c.inFlight() }

func (c *conn) inFlight() int { return int(c.sent.Load() - c.done.Load()) }

// take is how many of n commands may be sent. A connection's share of the count is
// fixed, so that a count of as many as there are clients reports each once.
func (c *conn) take(n int) int {
	if c.run.stopped.Load() {
		return 0
	}
	n = min(n, c.left)
	c.left -= n
	return n
}

// prepare makes the next commands, which must have room, for send. due is when
// each is to be sent, now and then in steps.
func (c *conn) prepare(n int, due, step time.Duration) {
	l := &c.run.language
	sent := c.sent.Load()
	c.stamp = max(c.stamp, c.run.wall.Add(due).UnixNano())
	for i := range n {
		at := int((sent + uint64(i)) % uint64(len(c.slots)))
		s := &c.slots[at]
		s.command = c.choose()
		s.due = due
		due += step
		l.write(c.lines[at*l.length:(at+1)*l.length], s.command)
	}
}

// choose is the next command: a report of the client whose turn it is, or, as
// often as is wanted, a question for the client that was reported last.
func (c *conn) choose() command {
	if c.owed += c.run.cfg.Asks; c.owed >= 1 && c.asked.stamp > 0 {
		c.owed--
		c.asked.ask = true
		return c.asked
	}
	c.stamp++
	c.asked = command{client: c.client(c.next), place: uint8(c.next+c.round) % uint8(len(places)), stamp: c.stamp}
	if c.next++; c.next == len(c.last) {
		c.next = 0
		c.round++
	}
	return c.asked
}

// send sends n prepared commands: in one write, or in two where they reach over
// the end of the ring.
func (c *conn) send(n int) error {
	if now := time.Now(); now.Sub(c.told) > c.run.cfg.Patience/8 {
		c.told = now
		c.socket.SetWriteDeadline(now.Add(c.run.cfg.Patience))
	}
	length := c.run.language.length
	first := int(c.sent.Load() % uint64(len(c.slots)))
	c.sent.Add(uint64(n))
	straight := min(n, len(c.slots)-first)
	if _, err := c.socket.Write(c.lines[first*length : (first+straight)*length]); err != nil {
		return err
	}
	if straight == n {
		return nil
	}
	_, err := c.socket.Write(c.lines[:(n-straight)*length])
	return err
}

// flatOut sends as many commands as there is room for, until no more are wanted
// and all are answered.
func (c *conn) flatOut() error {
	for {
		if n := c.take(c.room()); n > 0 {
			c.prepare(n, time.Since(c.run.start), 0)
			if err := c.send(n); err != nil {
				return fmt.Errorf("%s: sending commands: %w", c.target.address, err)
			}
		}
		if c.inFlight() == 0 {
			return nil
		}
		if err := c.receive(); err != nil {
			return err
		}
	}
}

// listen receives replies while another goroutine sends, until no more commands
// will be sent and all are answered.
func (c *conn) listen() error {
	for !c.run.allSent.Load() || c.inFlight() > 0 {
		if err := c.receive(); err != nil {
			return err
		}
	}
	return nil
}

// receive reads once and checks all replies that are whole then.
func (c *conn) receive() error {
	if now := time.Now(); now.Sub(c.heard) > c.run.cfg.Patience/8 {
		c.heard = now
		c.socket.SetReadDeadline(now.Add(c.run.cfg.Patience))
		if c.run.interrupted.Load() { // its deadline may just have been undone
			c.hurry()
		}
	}
	n, err := c.socket.Read(c.in[c.end:])
	c.end += n
	if wrong := c.check(time.Since(c.run.start)); wrong != nil {
		return wrong
	}
	switch {
	case err == nil:
		return nil
	case errors.Is(err, os.ErrDeadlineExceeded) && c.run.interrupted.Load():
		return errInterrupted
	case errors.Is(err, os.ErrDeadlineExceeded) && c.inFlight() == 0:
		c.heard = time.Time{} // nothing was asked
		return nil
	case errors.Is(err, os.ErrDeadlineExceeded):
		return fmt.Errorf("%s: no reply within %v; unanswered commands on the connection: %d", c.target.address, c.run.cfg.Patience, c.inFlight())
	case errors.Is(err, io.EOF):
		return fmt.Errorf("%s: the server closed the connection; unanswered commands on it: %d", c.target.address, c.inFlight())
	default:
		return fmt.Errorf("%s: reading replies: %w; unanswered commands on it: %d", c.target.address, err, c.inFlight())
	}
}

// errInterrupted ends a connection that did not get all replies in the time that
// an interrupt leaves.
var errInterrupted = errors.New("interrupted")

// hurry leaves the server little time for the replies that are due.
func (c *conn) hurry() {
	const parting = time.Second
	c.socket.SetReadDeadline(time.Now().Add(parting))
}

// part ends the connection and counts what the server sends beyond what it was
// asked for.
func (c *conn) part() {
	defer c.socket.Close()
	const patience = time.Second
	c.socket.SetReadDeadline(time.Now().Add(patience))
	if c.socket.CloseWrite() != nil {
		return
	}
	if n, _ := c.socket.Read(c.in); n > 0 {
		c.wrong++
		c.run.noteWrong(c.target.address, nil, c.in[:n])
	}
}

// leaveUnsure marks the clients of commands that were not answered.
func (c *conn) leaveUnsure() {
	for i := c.done.Load(); i < c.sent.Load(); i++ {
		s := &c.slots[i%uint64(len(c.slots))]
		c.last[c.index(s.client)].unsure = true
	}
}

// check checks the replies that were read, at a time since the start.
func (c *conn) check(now time.Duration) error {
	l := &c.run.language
	done, sent := c.done.Load(), c.sent.Load()
	var same time.Duration // commands that were sent together are counted together
	together := 0
	for ; done < sent && c.start < c.end; done++ {
		at := int(done % uint64(len(c.slots)))
		s := &c.slots[at]
		line := c.lines[at*l.length : (at+1)*l.length]
		b := c.in[c.start:c.end]
		length := 0
		if s.ask {
			length = c.checkAnswer(b, s.command)
		} else {
			length = c.checkAcknowledgement(b, line, s.command)
		}
		if length == 0 {
			if length = c.wrongReply(b, line, s.command); length == 0 {
				break
			}
		}
		c.start += length
		if s.due != same {
			c.latencies.Record(now-same, together)
			same, together = s.due, 0
		}
		together++
	}
	c.latencies.Record(now-same, together)
	c.done.Store(done)
	if c.wrong >= tooWrong {
		return fmt.Errorf("%s: gave up after %d wrong replies", c.target.address, c.wrong)
	}
	if done == sent && c.start < c.end {
		c.wrong++
		c.run.noteWrong(c.target.address, nil, c.in[c.start:c.end])
		return fmt.Errorf("%s: more came than was asked for", c.target.address)
	}
	c.end = copy(c.in, c.in[c.start:c.end])
	c.start = 0
	if c.end == len(c.in) {
		return fmt.Errorf("%s: a reply of more than %d bytes", c.target.address, len(c.in))
	}
	return nil
}

// checkAcknowledgement is the length of the right reply to an IAMAT at the start
// of b, which it remembers; 0 if there is none.
func (c *conn) checkAcknowledgement(b, line []byte, cmd command) int {
	if c.begin == nil && !c.learnName(b) {
		return 0
	}
	length, difference := acknowledgement(b, c.begin, c.run.language.fields(line))
	if length == 0 {
		return 0
	}
	l := &c.last[c.index(cmd.client)]
	l.stamp, l.place, l.length, l.unsure = cmd.stamp, cmd.place, uint8(difference), false
	c.updates++
	copy(l.difference[:], b[len(c.begin):len(c.begin)+difference])
	return length
}

// learnName takes the server's name from its first reply, which all connections
// to it must agree on.
func (c *conn) learnName(b []byte) bool {
	name := string(serverName(b))
	if name == "" {
		return false
	}
	if !c.target.name.CompareAndSwap(nil, &name) {
		name = *c.target.name.Load()
	}
	c.begin = []byte("AT " + name + " ")
	return true
}

// checkAnswer is the length of the right reply to a WHATSAT at the start of b: the
// record as it was last acknowledged, and an object. 0 if there is none.
func (c *conn) checkAnswer(b []byte, cmd command) int {
	c.scratch = c.appendRecord(c.scratch[:0], c.index(cmd.client))
	want := c.scratch
	if len(want) == 0 || !bytes.HasPrefix(b, want) || len(b) == len(want) || b[len(want)] != '\n' {
		return 0
	}
	rest := b[len(want)+1:]
	if len(c.body) > 0 && bytes.HasPrefix(rest, c.body) {
		return len(want) + 1 + len(c.body)
	}
	length := answerLength(b)
	if length == 0 || !isObject(b[len(want)+1:length]) {
		return 0
	}
	c.body = bytes.Clone(b[len(want)+1 : length])
	return length
}

// appendRecord appends the record that all servers must end with for a client, by
// its place in c.last; nothing if there is none.
func (c *conn) appendRecord(dst []byte, i int) []byte {
	l := &c.last[i]
	if l.stamp == 0 {
		return dst
	}
	dst = append(append(dst, c.begin...), l.difference[:l.length]...)
	return c.run.language.appendFields(append(dst, ' '), command{client: c.client(i), place: l.place, stamp: l.stamp})
}

// wrongReply is the length of the reply at the start of b, which is not what line
// asks for, once all of it is there; 0 until then.
func (c *conn) wrongReply(b, line []byte, cmd command) int {
	length := 0
	if cmd.ask {
		length = answerLength(b)
	} else {
		length = bytes.IndexByte(b, '\n') + 1
	}
	if length == 0 {
		return 0
	}
	c.wrong++
	c.last[c.index(cmd.client)].unsure = true
	c.run.noteWrong(c.target.address, bytes.TrimRight(line, " \n"), b[:length])
	return length
}
