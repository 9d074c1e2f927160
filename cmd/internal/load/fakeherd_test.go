package load

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
)

// herd is a hand-made herd whose servers share one map, and that lies as a test
// wants.
type herd struct {
	mu      sync.Mutex
	records map[string]string
	heard   int // commands of the load

	// lie, if not nil, makes of the right reply to the load's n-th command what is
	// sent; ok false closes the connection instead. The questions of observers
	// are n = 0.
	lie func(n int, server, reply string) (said string, ok bool)
}

const emptyAnswer = "{\n   \"html_attributions\" : [],\n   \"results\" : [],\n   \"status\" : \"OK\"\n}\n\n"

// listen starts servers of the herd and returns their addresses.
func (h *herd) listen(t *testing.T, names ...string) (addresses []string) {
	t.Helper()
	h.records = map[string]string{}
	for _, name := range names {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		var sessions sync.WaitGroup
		sessions.Go(func() {
			for {
				conn, err := ln.Accept()
				if err != nil {
					return
				}
				sessions.Go(func() {
					defer conn.Close()
					defer context.AfterFunc(t.Context(), func() { conn.Close() })()
					h.serve(name, conn)
				})
			}
		})
		t.Cleanup(func() {
			ln.Close()
			sessions.Wait()
		})
		addresses = append(addresses, ln.Addr().String())
	}
	return addresses
}

func (h *herd) serve(name string, conn net.Conn) {
	r, w := bufio.NewReader(conn), bufio.NewWriter(conn)
	loading := false // the connection is one of the load, and not an observer's
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return
		}
		f := strings.Fields(line)
		loading = loading || f[0] == "IAMAT"
		h.mu.Lock()
		n := 0
		if loading {
			h.heard++
			n = h.heard
		}
		var reply string
		if f[0] == "IAMAT" {
			record := fmt.Sprintf("AT %s +0.000000%03d %s %s %s", name, n%1000, f[1], f[2], f[3])
			h.records[f[1]] = record
			reply = record + "\n"
		} else if record, ok := h.records[f[1]]; ok {
			reply = record + "\n" + emptyAnswer
		} else {
			reply = "? " + line
		}
		h.mu.Unlock()
		if h.lie != nil {
			var ok bool
			if reply, ok = h.lie(n, name, reply); !ok {
				w.Flush()
				return
			}
		}
		w.WriteString(reply)
		if r.Buffered() == 0 && w.Flush() != nil {
			return
		}
	}
}
