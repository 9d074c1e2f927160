package main

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// relay stands between one server and the broker and speaks NATS's protocol well
// enough to lose what the server says to single neighbours, without a word to
// anybody, as a network does. It can also hold up all that crosses, both ways.
type relay struct {
	t      testing.TB
	ln     net.Listener
	broker string

	mu     sync.Mutex
	cut    map[string]bool // neighbours that hear nothing
	frozen chan struct{}   // nil, or closed when what crosses may go on
	conns  map[net.Conn]bool
	done   bool
	pipes  sync.WaitGroup
}

// startRelay starts the relay of one server to the broker at an address.
func startRelay(t testing.TB, broker string) *relay {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &relay{t: t, ln: ln, broker: broker, cut: map[string]bool{}, conns: map[net.Conn]bool{}}
	r.pipes.Go(r.accept)
	t.Cleanup(r.close)
	return r
}

func (r *relay) url() string { return "nats://" + r.ln.Addr().String() }

// sever loses from now on what the server says to peer, or no longer.
func (r *relay) sever(peer string, cut bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.cut[peer] = cut
}

// freeze holds up all that crosses, until thaw.
func (r *relay) freeze() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.frozen = make(chan struct{})
}

func (r *relay) thaw() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.frozen != nil {
		close(r.frozen)
		r.frozen = nil
	}
}

func (r *relay) close() {
	r.thaw()
	r.ln.Close()
	r.mu.Lock()
	r.done = true
	for c := range r.conns {
		c.Close()
	}
	r.mu.Unlock()
	r.pipes.Wait()
}

// pass returns when what crosses may go on.
func (r *relay) pass() {
	for {
		r.mu.Lock()
		frozen := r.frozen
		r.mu.Unlock()
		if frozen == nil {
			return
		}
		<-frozen
	}
}

func (r *relay) accept() {
	for {
		server, err := r.ln.Accept()
		if err != nil {
			return
		}
		r.pipes.Go(func() { r.join(server) })
	}
}

// join carries what crosses on one connection until either end is closed.
func (r *relay) join(server net.Conn) {
	defer server.Close()
	r.pass()
	broker, err := net.Dial("tcp", r.broker)
	if err != nil {
		return // as if it had been refused
	}
	defer broker.Close()
	r.mu.Lock()
	if r.done {
		r.mu.Unlock()
		return
	}
	r.conns[server], r.conns[broker] = true, true
	r.mu.Unlock()
	// What a server has said before it was killed is the network's, and arrives.
	said := make(chan struct{})
	go func() {
		defer close(said)
		r.carry(bufio.NewWriterSize(passing{r, broker}, 64<<10), bufio.NewReaderSize(server, 64<<10))
		broker.Close()
	}()
	io.Copy(passing{r, server}, broker)
	io.Copy(io.Discard, broker) // when the server was killed
	server.Close()
	<-said
	r.mu.Lock()
	delete(r.conns, server)
	delete(r.conns, broker)
	r.mu.Unlock()
}

// passing writes when what crosses may go on.
type passing struct {
	relay *relay
	to    io.Writer
}

func (p passing) Write(b []byte) (int, error) {
	p.relay.pass()
	return p.to.Write(b)
}

// carry carries what the server says, but for messages to neighbours that it is
// cut off from.
func (r *relay) carry(to *bufio.Writer, from *bufio.Reader) error {
	for {
		if from.Buffered() == 0 {
			if err := to.Flush(); err != nil {
				return err
			}
		}
		line, err := from.ReadString('\n')
		if err != nil {
			return err
		}
		body, peer, err := publication(line)
		if err != nil {
			r.t.Errorf("relay: %q: %v", line, err)
			return err
		}
		r.mu.Lock()
		lost := peer != "" && r.cut[peer]
		r.mu.Unlock()
		if lost {
			_, err = from.Discard(body)
		} else if _, err = to.WriteString(line); err == nil {
			_, err = io.CopyN(to, from, int64(body))
		}
		if err != nil {
			return err
		}
	}
}

// publication is how long what follows a line of NATS's protocol is, and which
// neighbour it is for; "" for none.
func publication(line string) (body int, peer string, err error) {
	f := strings.Fields(line)
	if len(f) < 3 || f[0] != "PUB" && f[0] != "HPUB" {
		return 0, "", nil
	}
	if body, err = strconv.Atoi(f[len(f)-1]); err != nil {
		return 0, "", fmt.Errorf("no length: %w", err)
	}
	subject := strings.Split(f[1], ".")
	switch {
	case len(subject) == 4 && subject[0] == "herd" && (subject[1] == "edge" || subject[1] == "beat" || subject[1] == "sync"):
		peer = subject[3]
	case len(subject) == 4 && subject[0] == "_INBOX" && subject[3] == "answer":
		peer = subject[1]
	}
	return body + len("\r\n"), peer, nil
}
