package rivals

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"herd/cmd/internal/freeport"
	"herd/cmd/internal/load"
)

// dialect is a leader and four followers that use the RESP protocol. Only the leader
// accepts updates.
type dialect struct {
	name    string
	program string
	args    func(port, dir, leaderPort string) []string // leaderPort is "" for the leader
	follow  func(leaderPort string) []string            // command that makes a started server a follower; nil if args does

	set  func(client string, update int) []string
	get  func(client string) []string
	held func(client string, update int) string // suffix of get's reply if the server has that update
}

var redis = dialect{
	name: "redis SET", program: "redis-server",
	args: func(port, dir, leaderPort string) []string {
		args := []string{"--bind", "127.0.0.1", "--port", port, "--dir", dir, "--save", "", "--appendonly", "no", "--repl-diskless-sync-delay", "0"}
		if leaderPort != "" {
			args = append(args, "--replicaof", "127.0.0.1 "+leaderPort)
		}
		return args
	},
	set:  func(client string, update int) []string { return []string{"SET", client, atLine(client, update)} },
	get:  func(client string) []string { return []string{"GET", client} },
	held: atLine,
}

var tile38 = dialect{
	name: "tile38 SET", program: "tile38-server",
	args: func(port, dir, _ string) []string { return []string{"-h", "127.0.0.1", "-p", port, "-d", dir, "-q"} },
	follow: func(leaderPort string) []string {
		return []string{"FOLLOW", "127.0.0.1", leaderPort}
	},
	// Each update has another height.
	set: func(client string, update int) []string {
		return []string{"SET", "fleet", client, "POINT", "34.068930", "-118.445127", strconv.Itoa(update + 1)}
	},
	get:  func(client string) []string { return []string{"GET", "fleet", client, "POINT"} },
	held: func(_ string, update int) string { return strconv.Itoa(update + 1) },
}

// atLine is a record of the same length as a herd's.
func atLine(client string, update int) string {
	return fmt.Sprintf("AT Goloman +0.000123456 %s +34.068930-118.445127 1621464827.%09d", client, update)
}

func (d dialect) Name() string { return d.name }

func (d dialect) Start(ctx context.Context, lab *Lab) (System, error) {
	program, err := exec.LookPath(d.program)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", d.program, ErrMissing)
	}
	s := &respSystem{dialect: d}
	if s.addresses, err = freeport.Addresses(5); err != nil {
		return nil, err
	}
	if err := s.start(ctx, lab, program); err != nil {
		s.Stop()
		return nil, err
	}
	return s, nil
}

// respSystem is a leader, which is the first, and its followers.
type respSystem struct {
	dialect
	addresses []string
	processes []*Process
}

func (s *respSystem) Processes() []*Process { return s.processes }
func (s *respSystem) Stop()                 { stop(s.processes) }

func (s *respSystem) start(ctx context.Context, lab *Lab, program string) error {
	leader := port(s.addresses[0])
	for i, address := range s.addresses {
		dir, err := os.MkdirTemp(lab.Dir, "resp")
		if err != nil {
			return err
		}
		of := leader
		if i == 0 {
			of = ""
		}
		p, err := start(ctx, nil, program, s.args(port(address), dir, of)...)
		if err != nil {
			return err
		}
		s.processes = append(s.processes, p)
		if err := p.awaitPort(ctx, address); err != nil {
			return err
		}
		if i > 0 && s.follow != nil {
			if _, err := askOnce(address, s.follow(leader)); err != nil {
				return err
			}
		}
	}
	// Followers are connected once they have an update of the leader.
	if _, err := askOnce(s.addresses[0], s.set("probe", 0)); err != nil {
		return err
	}
	for i, address := range s.addresses {
		if err := s.processes[i].await(ctx, func() error {
			reply, err := askOnce(address, s.get("probe"))
			if err == nil && !strings.HasSuffix(reply, s.held("probe", 0)) {
				err = fmt.Errorf("its reply is %q", reply)
			}
			return err
		}); err != nil {
			return err
		}
	}
	return nil
}

// respConn is a connection that updates its own clients in turn.
type respConn struct {
	*respClient
	clients   []string
	last      []int // update of each client; -1: none
	next      int
	updates   int
	latencies load.Histogram
	err       error
}

func (s *respSystem) Run(ctx context.Context, w Workload) (Outcome, error) {
	if w.All {
		return Outcome{}, ErrCannot
	}
	conns := make([]*respConn, w.Connections)
	for i := range conns {
		c, err := dialRESP(s.addresses[0])
		if err != nil {
			return Outcome{}, err
		}
		defer c.conn.Close()
		conns[i] = &respConn{respClient: c}
		for n := i; n < w.Clients; n += w.Connections {
			conns[i].clients = append(conns[i].clients, fmt.Sprintf("bench.%07d", n))
			conns[i].last = append(conns[i].last, -1)
		}
	}
	var left atomic.Int64
	left.Store(int64(w.Count))
	before, begin := CPU(s.processes), time.Now()
	var group sync.WaitGroup
	for _, c := range conns {
		group.Go(func() {
			for c.err == nil && ctx.Err() == nil && time.Since(begin) < w.Duration && left.Add(-int64(w.Pipeline)) > -int64(w.Pipeline) {
				c.err = c.batch(s.dialect, w.Pipeline)
			}
		})
	}
	group.Wait()
	var out Outcome
	var latest, all []written
	for _, c := range conns {
		if c.err != nil {
			return out, c.err
		}
		out.Updates += c.updates
		out.Latencies.Add(&c.latencies)
		for i, update := range c.last {
			if update >= 0 {
				all = append(all, written{c.clients[i], update})
			}
		}
		if newest := (c.next - 1 + len(c.clients)) % len(c.clients); c.updates > 0 {
			latest = append(latest, written{c.clients[newest], c.last[newest]})
		}
	}
	if missing, err := s.missing(ctx, latest); err != nil || missing > 0 {
		return out, errors.Join(err, fmt.Errorf("%d of the last updates did not reach every server", missing))
	}
	out.Replicated = float64(out.Updates) / time.Since(begin).Seconds()
	out.CPU = CPU(s.processes) - before
	if most := 20_000; len(all) > most {
		for i := range most {
			all[i] = all[i*len(all)/most]
		}
		all = all[:most]
	}
	var err error
	out.Differing, err = s.missing(ctx, all)
	return out, err
}

// batch sends n updates and reads their replies.
func (c *respConn) batch(d dialect, n int) error {
	sent := time.Now()
	for range n {
		c.send(d.set(c.clients[c.next], c.updates))
		c.last[c.next] = c.updates
		c.updates++
		c.next = (c.next + 1) % len(c.clients)
	}
	if err := c.w.Flush(); err != nil {
		return err
	}
	for range n {
		if reply, err := c.read(); err != nil {
			return err
		} else if reply != "OK" {
			return fmt.Errorf("%s: the reply to an update is %q", d.name, reply)
		}
	}
	c.latencies.Record(time.Since(sent), n)
	return nil
}

// written is the last update of a client.
type written struct {
	client string
	update int
}

// missing polls every server until it has all updates, or patience ends, and returns how
// many are missing, summed over the servers.
func (s *respSystem) missing(ctx context.Context, all []written) (n int, err error) {
	deadline := time.Now().Add(patience)
	for _, address := range s.addresses {
		c, err := dialRESP(address)
		if err != nil {
			return 0, err
		}
		defer c.conn.Close()
		behind := slices.Clone(all)
		for pause := time.Millisecond; ; pause = min(2*pause, 20*time.Millisecond) {
			if behind, err = c.behind(s.dialect, behind); err != nil {
				return 0, err
			}
			if len(behind) == 0 || ctx.Err() != nil || time.Now().After(deadline) {
				break
			}
			time.Sleep(pause)
		}
		n += len(behind)
	}
	return n, context.Cause(ctx)
}

// behind returns the updates that the server does not have.
func (c *respClient) behind(d dialect, all []written) (behind []written, err error) {
	for some := range slices.Chunk(all, 64) {
		for _, w := range some {
			c.send(d.get(w.client))
		}
		if err := c.w.Flush(); err != nil {
			return nil, err
		}
		for _, w := range some {
			reply, err := c.read()
			if err != nil {
				return nil, err
			}
			if !strings.HasSuffix(reply, d.held(w.client, w.update)) {
				behind = append(behind, w)
			}
		}
	}
	return behind, nil
}

// respClient is a connection that uses RESP.
type respClient struct {
	conn net.Conn
	r    *bufio.Reader
	w    *bufio.Writer
	buf  []byte
}

func dialRESP(address string) (*respClient, error) {
	conn, err := net.DialTimeout("tcp", address, patience)
	if err != nil {
		return nil, err
	}
	conn.SetDeadline(time.Now().Add(10 * time.Minute)) // longer than any run; makes a dead server an error
	return &respClient{conn: conn, r: bufio.NewReaderSize(conn, 64<<10), w: bufio.NewWriterSize(conn, 64<<10)}, nil
}

func askOnce(address string, command []string) (string, error) {
	c, err := dialRESP(address)
	if err != nil {
		return "", err
	}
	defer c.conn.Close()
	c.send(command)
	if err := c.w.Flush(); err != nil {
		return "", err
	}
	return c.read()
}

func (c *respClient) send(command []string) {
	c.buf = append(strconv.AppendInt(append(c.buf[:0], '*'), int64(len(command)), 10), "\r\n"...)
	for _, word := range command {
		c.buf = append(strconv.AppendInt(append(c.buf, '$'), int64(len(word)), 10), "\r\n"...)
		c.buf = append(append(c.buf, word...), "\r\n"...)
	}
	c.w.Write(c.buf) // Flush returns its error
}

// read reads a reply. It joins the elements of an array with spaces.
func (c *respClient) read() (string, error) {
	line, err := c.r.ReadSlice('\n')
	if err != nil {
		return "", err
	}
	if len(line) < 3 {
		return "", fmt.Errorf("%q is not a reply", line)
	}
	head, rest := line[0], string(line[1:len(line)-2])
	if head != '$' && head != '*' {
		return rest, nil
	}
	n, err := strconv.Atoi(rest)
	switch {
	case err != nil:
		return "", err
	case n < 0:
		return "", nil
	case head == '$':
		text := make([]byte, n+2)
		_, err := io.ReadFull(c.r, text)
		return string(text[:n]), err
	}
	words := make([]string, n)
	for i := range words {
		if words[i], err = c.read(); err != nil {
			return "", err
		}
	}
	return strings.Join(words, " "), nil
}
