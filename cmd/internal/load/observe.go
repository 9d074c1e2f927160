package load

import (
	"bufio"
	"bytes"
	"fmt"
	"net"
	"sync"
	"time"
)

// observer is a connection to one server that requests its records.
type observer struct {
	address string
	socket  net.Conn
	r       *bufio.Reader
	w       *bufio.Writer
	err     error // the connection has failed
}

func (r *run) observe(address string) (*observer, error) {
	socket, err := r.dialAddress(address)
	if err != nil {
		return nil, err
	}
	return &observer{address: address, socket: socket, r: bufio.NewReaderSize(socket, 16<<10), w: bufio.NewWriterSize(socket, 16<<10)}, nil
}

func (o *observer) close() { o.socket.Close() }

// ask requests the records of clients and calls got with each: a line without LF, or what
// the server replied instead. All requests must fit into the sockets' buffers.
func (o *observer) ask(r *run, clients []uint32, got func(client uint32, record []byte)) error {
	o.socket.SetDeadline(time.Now().Add(r.cfg.Patience))
	for _, c := range clients {
		fmt.Fprintf(o.w, "WHATSAT %s 0 0\n", r.format.client(c))
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

// Replication tells when all servers had the last updates.
type Replication struct {
	All     bool          // all had them in time
	Elapsed time.Duration // since the start of the load
	Missing []string      // addresses of servers that did not have them in time
}

// awaitReplication waits until every server has the newest record of each connection.
func (r *run) awaitReplication(observers []*observer, until time.Time) *Replication {
	var latest []uint32
	for _, c := range r.conns {
		if client, ok := c.latest(); ok {
			latest = append(latest, client)
		}
	}
	when := make([]time.Duration, len(observers)) // since the start; 0: not in time
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

// latest is the connection's client with the newest record.
func (c *conn) latest() (client uint32, ok bool) {
	best := -1
	if c.lastReport.stamp > 0 {
		best = c.index(c.lastReport.client)
	}
	if best >= 0 && c.last[best].stamp == c.lastReport.stamp && !c.last[best].uncertain {
		return c.lastReport.client, true
	}
	best = -1
	for i, l := range c.last {
		if l.stamp > 0 && !l.uncertain && (best < 0 || l.stamp > c.last[best].stamp) {
			best = i
		}
	}
	if best < 0 {
		return 0, false
	}
	return c.client(best), true
}

// await polls the server until it has the last record of each client, and returns the
// time since the start; 0 if the server did not have them in time. It requests a few
// records at a time, less and less often while none of them arrive.
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
			if scratch = r.expected(scratch, client); !bytes.Equal(record, scratch) {
				behind = append(behind, client)
			}
		}); o.err != nil {
			r.addError(o.err)
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

// expected writes the record that every server must have at the end for a client to dst.
func (r *run) expected(dst []byte, client uint32) []byte {
	c := r.conn(client)
	return c.appendRecord(dst[:0], c.index(client))
}

// Check compares the records of the servers with the last replies.
type Check struct {
	Records   int // checked at each server
	Of        int // written and acknowledged
	Servers   int // checked
	Late      int // records that were correct only after the first look
	Lost      int // records that are missing or older than the last reply
	Differing int // records that differ from the last reply in another way
	Examples  []Mismatch
}

// Mismatch is a record that differs from the last reply.
type Mismatch struct {
	Address string `json:"address"`
	Want    string `json:"want"`
	Got     string `json:"got"`
}

// check compares the records of every server with the last replies. It checks records
// that are not correct again, until the time until.
func (r *run) check(observers []*observer, until time.Time) *Check {
	var written []uint32
	for client := range uint32(r.cfg.Clients) {
		c := r.conn(client)
		if l := &c.last[c.index(client)]; l.stamp > 0 && !l.uncertain {
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

// compare compares the server's records with the last replies and adds to result.
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
				if scratch = r.expected(scratch, client); bytes.Equal(record, scratch) {
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
		r.addError(o.err)
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

// older reports whether a server's reply is not a record, or has an earlier time than
// want.
func older(said, want []byte) bool {
	if !bytes.HasPrefix(said, []byte("AT ")) {
		return true
	}
	stamp := func(line []byte) string { return string(line[bytes.LastIndexByte(line, ' ')+1:]) }
	return stamp(said) < stamp(want) // they have the same length
}
