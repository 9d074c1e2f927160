package load

import (
	"bufio"
	"bytes"
	"fmt"
	"net"
	"sync"
	"time"
)

// observer is a connection to one server, to ask it what it knows.
type observer struct {
	address string
	socket  net.Conn
	r       *bufio.Reader
	w       *bufio.Writer
	err     error // it is of no more use
}

func (r *run) observe(address string) (*observer, error) {
	dialer := net.Dialer{Timeout: r.cfg.Patience}
	socket, err := dialer.DialContext(r.ctx, "tcp", address)
	if err != nil {
		return nil, err // it names the address
	}
	return &observer{address: address, socket: socket, r: bufio.NewReaderSize(socket, 16<<10), w: bufio.NewWriterSize(socket, 16<<10)}, nil
}

func (o *observer) close() { o.socket.Close() }

// ask asks for clients, few enough for the sockets' buffers, and hands each
// server's record to got: a line without LF, or what the server said instead.
func (o *observer) ask(r *run, clients []uint32, got func(client uint32, record []byte)) error {
	o.socket.SetDeadline(time.Now().Add(r.cfg.Patience))
	for _, c := range clients {
		fmt.Fprintf(o.w, "WHATSAT %s 0 0\n", r.language.client(c))
	}
	if err := o.w.Flush(); err != nil {
		return fmt.Errorf("%s: asking for records: %w", o.address, err)
	}
	for _, c := range clients {
		line, err := o.r.ReadSlice('\n')
		if err != nil {
			return fmt.Errorf("%s: reading a record: %w", o.address, err)
		}
		got(c, line[:len(line)-1])
		for isRecord := bytes.HasPrefix(line, []byte("AT ")); isRecord && len(line) > 1; {
			if line, err = o.r.ReadSlice('\n'); err != nil {
				return fmt.Errorf("%s: reading what follows a record: %w", o.address, err)
			}
		}
	}
	return nil
}

// Replication is when the last updates had reached all servers.
type Replication struct {
	All     bool          // they did, in time
	Elapsed time.Duration // from the start of the load
	Missing []string      // addresses that did not have them in time
}

// awaitReplication waits until every observer's server has the last record of
// each connection.
func (r *run) awaitReplication(observers []*observer, until time.Time) *Replication {
	var latest []uint32
	for _, c := range r.conns {
		if client, ok := c.latest(); ok {
			latest = append(latest, client)
		}
	}
	when := make([]time.Duration, len(observers)) // 0: not in time
	var group sync.WaitGroup
	for i, o := range observers {
		group.Go(func() { when[i] = o.await(r, latest, until) })
	}
	group.Wait()
	result := &Replication{All: len(latest) > 0}
	for i, o := range observers {
		result.Elapsed = max(result.Elapsed, when[i])
		if when[i] == 0 {
			result.All = false
			result.Missing = append(result.Missing, o.address)
		}
	}
	if !result.All {
		result.Elapsed = 0
	}
	return result
}

// latest is the connection's client whose record is the newest.
func (c *conn) latest() (client uint32, ok bool) {
	best := -1
	if c.asked.stamp > 0 {
		best = c.index(c.asked.client)
	}
	if best >= 0 && c.last[best].stamp == c.asked.stamp && !c.last[best].unsure {
		return c.asked.client, true
	}
	best = -1
	for i, l := range c.last {
		if l.stamp > 0 && !l.unsure && (best < 0 || l.stamp > c.last[best].stamp) {
			best = i
		}
	}
	if best < 0 {
		return 0, false
	}
	return c.client(best), true
}

// await asks for clients until the server has the last record of each, and returns
// when that was since the start; 0 if it was not in time. It asks for few at a
// time, and ever more seldom while the answers stay the same.
func (o *observer) await(r *run, clients []uint32, until time.Time) time.Duration {
	const (
		atATime   = 16
		leastWait = time.Millisecond
		mostWait  = 20 * time.Millisecond
	)
	var scratch []byte
	wait := leastWait
	for {
		some := clients[:min(len(clients), atATime)]
		var behind []uint32
		if o.err = o.ask(r, some, func(client uint32, record []byte) {
			if scratch = r.want(scratch, client); !bytes.Equal(record, scratch) {
				behind = append(behind, client)
			}
		}); o.err != nil {
			r.noteError(o.err)
			return 0
		}
		clients = append(behind, clients[len(some):]...)
		switch {
		case len(clients) == 0:
			return time.Since(r.start)
		case time.Now().After(until) || r.ctx.Err() != nil:
			return 0
		case len(behind) < len(some):
			wait = leastWait
		default:
			wait = min(2*wait, mostWait)
		}
		if len(behind) > 0 {
			time.Sleep(wait)
		}
	}
}

// conn is the connection that a client belongs to.
func (r *run) conn(client uint32) *conn { return r.conns[int(client)%len(r.conns)] }

// want is the record that all servers must end with for a client, in dst.
func (r *run) want(dst []byte, client uint32) []byte {
	c := r.conn(client)
	return c.appendRecord(dst[:0], c.index(client))
}

// Check is what the servers hold in the end.
type Check struct {
	Records   int // looked at, at each server
	Of        int // that were written and acknowledged
	Servers   int // that were looked at
	Late      int // came right only on a second look
	Lost      int // older than the last reply, or not there
	Differing int // any other than the last reply
	Examples  []Mismatch
}

// Mismatch is a record that is not as the last reply had it.
type Mismatch struct {
	Address string `json:"address"`
	Want    string `json:"want"`
	Got     string `json:"got"`
}

// check compares what every server holds with the last replies. What is not right
// at first is looked at again until the time is over.
func (r *run) check(observers []*observer, until time.Time) *Check {
	var written []uint32
	for client := range uint32(r.cfg.Clients) {
		c := r.conn(client)
		if l := &c.last[c.index(client)]; l.stamp > 0 && !l.unsure {
			written = append(written, client)
		}
	}
	sample := written
	if most := r.cfg.Check; len(written) > most {
		sample = make([]uint32, most)
		for i := range sample {
			sample[i] = written[i*len(written)/most]
		}
	}
	result := &Check{Records: len(sample), Of: len(written)}
	var group sync.WaitGroup
	for _, o := range observers {
		if o.err == nil {
			group.Go(func() { o.compare(r, sample, until, result) })
		}
	}
	group.Wait()
	return result
}

// compare adds to result how the server's records compare with the last replies.
func (o *observer) compare(r *run, clients []uint32, until time.Time, result *Check) {
	var scratch []byte
	var one Check
	for look := 0; len(clients) > 0; look++ {
		one.Lost, one.Differing, one.Examples = 0, 0, nil
		var behind []uint32
		const atATime = 64
		for len(clients) > 0 && o.err == nil && r.ctx.Err() == nil {
			some := clients[:min(len(clients), atATime)]
			clients = clients[len(some):]
			o.err = o.ask(r, some, func(client uint32, record []byte) {
				if scratch = r.want(scratch, client); bytes.Equal(record, scratch) {
					return
				}
				behind = append(behind, client)
				if older(record, scratch) {
					one.Lost++
				} else {
					one.Differing++
				}
				if len(one.Examples) < someExamples {
					one.Examples = append(one.Examples, Mismatch{o.address, string(scratch), excerpt(record)})
				}
			})
		}
		if look == 0 {
			one.Late = len(behind)
		}
		clients = behind
		if len(behind) == 0 || o.err != nil || r.ctx.Err() != nil || time.Now().After(until) {
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	if o.err != nil {
		r.noteError(o.err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if o.err == nil {
		result.Servers++
	}
	result.Late += one.Late - one.Lost - one.Differing
	result.Lost += one.Lost
	result.Differing += one.Differing
	if room := someExamples - len(result.Examples); room > 0 {
		result.Examples = append(result.Examples, one.Examples[:min(room, len(one.Examples))]...)
	}
}

// older tells whether what a server said is no record, or one with a lesser time
// than want.
func older(said, want []byte) bool {
	if !bytes.HasPrefix(said, []byte("AT ")) {
		return true
	}
	stamp := func(line []byte) string { return string(line[bytes.LastIndexByte(line, ' ')+1:]) }
	return stamp(said) < stamp(want) // of one length
}
