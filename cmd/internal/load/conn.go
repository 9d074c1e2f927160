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

// target is a server that commands are sent to.
type target struct {
	address string
	name    atomic.Pointer[string] // from its first reply; all later replies must have the same name
}

// conn is one connection of a load. Its clients are its own number, and every number
// that follows in steps of the number of connections. Commands are numbered; those from
// done to sent are in flight. slots and lines are rings with a place for each command in
// flight. One goroutine receives. It also sends, unless there is a Rate: then one
// goroutine sends for all connections.
type conn struct {
	run    *run
	number int
	target *target
	socket Conn

	slots []slot
	lines []byte // the line of each slot's command
	sent  atomic.Uint64
	done  atomic.Uint64
	ended atomic.Bool // the receiver has returned

	// Owned by the sender.
	remaining        int       // commands that may still be sent
	next             int       // index in last of the client to report next
	round            int       // how often all clients have been reported
	stamp            int64     // of the last IAMAT: the next one is greater
	asksDue          float64   // WHATSATs to send
	lastReport       command   // the last IAMAT
	writeDeadlineSet time.Time // when the write deadline was last set

	// Owned by the receiver.
	in              []byte // bytes read and not yet checked are in[start:end]
	start           int
	end             int
	prefix          []byte // of acknowledgements, once the server's name is known
	scratch         []byte // buffer for a record
	body            []byte // of the last correct answer to a WHATSAT
	last            []last // by client
	latencies       Histogram
	updates         int       // acknowledged IAMATs
	wrong           int       // replies
	readDeadlineSet time.Time // when the read deadline was last set
	err             error
}

// slot is a command in flight.
type slot struct {
	command
	due time.Duration // when it was sent, or scheduled, since the start
}

// last is the last acknowledgement of a client's reports: every server must have this
// record at the end.
type last struct {
	stamp      int64 // 0: none
	difference [maxDifference]byte
	length     uint8 // of the difference
	place      uint8
	uncertain  bool // a later command has no reply, or a wrong one
}

// maxWrong is the number of wrong replies after which a connection gives up.
const maxWrong = 100

// dialAddress connects to a server. An error includes its address.
func (r *run) dialAddress(address string) (Conn, error) {
	if r.cfg.Dial != nil {
		return r.cfg.Dial(r.ctx, address)
	}
	dialer := net.Dialer{Timeout: r.cfg.Patience}
	socket, err := dialer.DialContext(r.ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	return socket.(*net.TCPConn), nil
}

func (r *run) dial(number int, t *target) (*conn, error) {
	socket, err := r.dialAddress(t.address)
	if err != nil {
		return nil, err
	}
	depth := r.cfg.Pipeline
	share := func(n int) int { return (n - number + r.cfg.Connections - 1) / r.cfg.Connections }
	const leastReply = 4 << 10 // enough for an answer to a WHATSAT and for an error message
	return &conn{
		run: r, number: number, target: t, socket: socket,
		slots: make([]slot, depth),
		lines: make([]byte, depth*r.format.length),
		in:    make([]byte, min(leastReply+depth*2*r.format.length, 128<<10)),
		last:  make([]last, share(r.cfg.Clients)),

		remaining: max(0, share(r.cfg.Count)),
	}, nil
}

// client is the number of the connection's client at index i of c.last.
func (c *conn) client(i int) uint32 { return uint32(c.number + i*c.run.cfg.Connections) }

// index is the index in c.last of one of the connection's clients.
func (c *conn) index(client uint32) int { return (int(client) - c.number) / c.run.cfg.Connections }

// freeSlots is how many more commands may be in flight now.
func (c *conn) freeSlots() int { return len(c.slots) - c.inFlight() }

func (c *conn) inFlight() int { return int(c.sent.Load() - c.done.Load()) }

// reserve returns how many of n commands may be sent, and counts them as sent. Each
// connection has a fixed share of the count: a count equal to the number of clients
// reports each client once.
func (c *conn) reserve(n int) int {
	if c.run.stopped.Load() {
		return 0
	}
	n = min(n, c.remaining)
	c.remaining -= n
	return n
}

// prepare writes the next n commands to free slots, for send. The first is due at due,
// each following one a step later.
func (c *conn) prepare(n int, due, step time.Duration) {
	l := &c.run.format
	sent := c.sent.Load()
	c.stamp = max(c.stamp, c.run.wall.Add(due).UnixNano())
	for i := range n {
		at := int((sent + uint64(i)) % uint64(len(c.slots)))
		s := &c.slots[at]
		s.command = c.nextCommand()
		s.due = due
		due += step
		l.write(c.lines[at*l.length:(at+1)*l.length], s.command)
	}
}

// nextCommand is a report of the next client or, as often as configured, a WHATSAT about
// the client that was reported last.
func (c *conn) nextCommand() command {
	if c.asksDue += c.run.cfg.Asks; c.asksDue >= 1 && c.lastReport.stamp > 0 {
		c.asksDue--
		c.lastReport.ask = true
		return c.lastReport
	}
	c.stamp++
	c.lastReport = command{client: c.client(c.next), place: uint8(c.next+c.round) % uint8(len(places)), stamp: c.stamp}
	if c.next++; c.next == len(c.last) {
		c.next = 0
		c.round++
	}
	return c.lastReport
}

// send sends n prepared commands: in one write, or in two where they wrap around the
// end of the ring.
func (c *conn) send(n int) error {
	if now := time.Now(); now.Sub(c.writeDeadlineSet) > c.run.cfg.Patience/8 {
		c.writeDeadlineSet = now
		c.socket.SetWriteDeadline(now.Add(c.run.cfg.Patience))
	}
	length := c.run.format.length
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

// sendAndReceive keeps all slots in use until no more commands may be sent, and returns
// once all are answered.
func (c *conn) sendAndReceive() error {
	for {
		if n := c.reserve(c.freeSlots()); n > 0 {
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

// receiveAll receives replies while another goroutine sends. It returns once no more
// commands will be sent and all are answered.
func (c *conn) receiveAll() error {
	for !c.run.allSent.Load() || c.inFlight() > 0 {
		if err := c.receive(); err != nil {
			return err
		}
	}
	return nil
}

// receive reads once and checks all replies that are complete.
func (c *conn) receive() error {
	if now := time.Now(); now.Sub(c.readDeadlineSet) > c.run.cfg.Patience/8 {
		c.readDeadlineSet = now
		c.socket.SetReadDeadline(now.Add(c.run.cfg.Patience))
		if c.run.interrupted.Load() { // interrupt may have set its deadline just before
			c.shortenDeadline()
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
		c.readDeadlineSet = time.Time{} // no reply was due
		return nil
	case errors.Is(err, os.ErrDeadlineExceeded):
		return fmt.Errorf("%s: no reply within %v; unanswered commands on the connection: %d", c.target.address, c.run.cfg.Patience, c.inFlight())
	case errors.Is(err, io.EOF):
		return fmt.Errorf("%s: the server closed the connection; unanswered commands on it: %d", c.target.address, c.inFlight())
	default:
		return fmt.Errorf("%s: reading replies: %w; unanswered commands on it: %d", c.target.address, err, c.inFlight())
	}
}

// errInterrupted means that some replies did not arrive in the time that an interrupt
// leaves for them.
var errInterrupted = errors.New("interrupted")

// shortenDeadline leaves the server little time to send the replies that are due.
func (c *conn) shortenDeadline() {
	const lastReplies = time.Second
	c.socket.SetReadDeadline(time.Now().Add(lastReplies))
}

// closeGracefully closes the connection. Anything that the server still sends counts as
// a wrong reply.
func (c *conn) closeGracefully() {
	defer c.socket.Close()
	const patience = time.Second
	c.socket.SetReadDeadline(time.Now().Add(patience))
	if c.socket.CloseWrite() != nil {
		return
	}
	if n, _ := c.socket.Read(c.in); n > 0 {
		c.wrong++
		c.run.addWrong(c.target.address, nil, c.in[:n])
	}
}

// markUnanswered marks the clients of unanswered commands as uncertain.
func (c *conn) markUnanswered() {
	for i := c.done.Load(); i < c.sent.Load(); i++ {
		s := &c.slots[i%uint64(len(c.slots))]
		c.last[c.index(s.client)].uncertain = true
	}
}

// check checks the replies that were read. now is the time since the start.
func (c *conn) check(now time.Duration) error {
	l := &c.run.format
	done, sent := c.done.Load(), c.sent.Load()
	var same time.Duration // commands sent together have the same latency: they are recorded at once
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
	if c.wrong >= maxWrong {
		return fmt.Errorf("%s: gave up after %d wrong replies", c.target.address, c.wrong)
	}
	if done == sent && c.start < c.end {
		c.wrong++
		c.run.addWrong(c.target.address, nil, c.in[c.start:c.end])
		return fmt.Errorf("%s: the server sent more than the replies", c.target.address)
	}
	c.end = copy(c.in, c.in[c.start:c.end])
	c.start = 0
	if c.end == len(c.in) {
		return fmt.Errorf("%s: a reply of more than %d bytes", c.target.address, len(c.in))
	}
	return nil
}

// checkAcknowledgement returns the length of the correct reply to an IAMAT at the start
// of b and stores its record in c.last. It returns 0 if the reply is not correct.
func (c *conn) checkAcknowledgement(b, line []byte, cmd command) int {
	if c.prefix == nil && !c.learnName(b) {
		return 0
	}
	length, difference := acknowledgement(b, c.prefix, c.run.format.fields(line))
	if length == 0 {
		return 0
	}
	l := &c.last[c.index(cmd.client)]
	l.stamp, l.place, l.length, l.uncertain = cmd.stamp, cmd.place, uint8(difference), false
	c.updates++
	copy(l.difference[:], b[len(c.prefix):len(c.prefix)+difference])
	return length
}

// learnName takes the server's name from the connection's first reply. It is the same on
// all connections to a server.
func (c *conn) learnName(b []byte) bool {
	name := string(serverName(b))
	if name == "" {
		return false
	}
	if !c.target.name.CompareAndSwap(nil, &name) {
		name = *c.target.name.Load()
	}
	c.prefix = []byte("AT " + name + " ")
	return true
}

// checkAnswer returns the length of the correct reply to a WHATSAT at the start of b: the
// record that was last acknowledged, and an object. It returns 0 if the reply is not
// correct.
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

// appendRecord appends the record that every server must have at the end for the client
// at index i of c.last; nothing if there is none.
func (c *conn) appendRecord(dst []byte, i int) []byte {
	l := &c.last[i]
	if l.stamp == 0 {
		return dst
	}
	dst = append(append(dst, c.prefix...), l.difference[:l.length]...)
	return c.run.format.appendFields(append(dst, ' '), command{client: c.client(i), place: l.place, stamp: l.stamp})
}

// wrongReply counts the reply at the start of b, which is not the correct reply to line,
// and returns its length. It returns 0 while the reply is incomplete.
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
	c.last[c.index(cmd.client)].uncertain = true
	c.run.addWrong(c.target.address, bytes.TrimRight(line, " \n"), b[:length])
	return length
}
