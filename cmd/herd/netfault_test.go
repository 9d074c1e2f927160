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

// relay is a proxy between one server and the broker. It parses enough of the NATS
// protocol to drop the server's messages to single neighbours, as a faulty network
// does: neither end gets an error. It can also stop all traffic, in both directions.
type relay struct {
	t      testing.TB
	ln     net.Listener
	broker string

	mu     sync.Mutex
	cut    map[string]bool // neighbours whose messages are dropped
	frozen chan struct{}   // nil, or closed by thaw
	conns  map[net.Conn]bool
	done   bool
	pipes  sync.WaitGroup
}

// startRelay starts a relay to the broker at an address.
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

// drop begins or ends to drop the server's messages to peer.
func (r *relay) drop(peer string, cut bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.cut[peer] = cut
}

// freeze stops all traffic, until thaw.
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

// reset closes all connections, at both ends. New ones are accepted.
func (r *relay) reset() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for c := range r.conns {
		c.Close()
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

// awaitThaw returns when traffic is not frozen.
func (r *relay) awaitThaw() {
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
		r.pipes.Go(func() { r.proxy(server) })
	}
}

// proxy forwards one connection until either end is closed.
func (r *relay) proxy(server net.Conn) {
	defer server.Close()
	r.awaitThaw()
	broker, err := net.Dial("tcp", r.broker)
	if err != nil {
		return // the server sees a connection that is closed
	}
	defer broker.Close()
	r.mu.Lock()
	if r.done {
		r.mu.Unlock()
		return
	}
	r.conns[server], r.conns[broker] = true, true
	r.mu.Unlock()
	// What a server sent before it was killed is in the network, and arrives.
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		r.forward(bufio.NewWriterSize(gatedWriter{r, broker}, 64<<10), bufio.NewReaderSize(server, 64<<10))
		broker.Close()
	}()
	io.Copy(gatedWriter{r, server}, broker)
	io.Copy(io.Discard, broker) // if the server was killed
	server.Close()
	<-sent
	r.mu.Lock()
	delete(r.conns, server)
	delete(r.conns, broker)
	r.mu.Unlock()
}

// gatedWriter writes when traffic is not frozen.
type gatedWriter struct {
	relay *relay
	to    io.Writer
}

func (p gatedWriter) Write(b []byte) (int, error) {
	p.relay.awaitThaw()
	return p.to.Write(b)
}

// forward copies what the server sends, except messages to neighbours that are dropped.
func (r *relay) forward(to *bufio.Writer, from *bufio.Reader) error {
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
		body, peer, err := parsePublish(line)
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

// parsePublish returns the number of bytes that follow a line of the NATS protocol, and
// the neighbour that the message is for; "" if there is none.
func parsePublish(line string) (body int, peer string, err error) {
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
