//go:build !race

// The race detector changes what things cost.

package node

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"runtime"
	"testing"
	"time"
)

// What the hot path and idle clients may cost. These tests count what the whole
// process does, so they do not run in parallel with others.

// alone is a server without neighbours, on real TCP.
func alone(t *testing.T) (n *Node, address string) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	h := newTestHerd(t, "Solo")
	limits := generous
	limits.Conns = 10_000
	n = New(Config{
		Name: "Solo", Epoch: 1, Limits: limits, Repair: 30 * time.Second,
		Bus: h.network.Bus("Solo"), Places: noPlaces{}, Log: discard,
	})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- n.Run(ctx, ln) }()
	t.Cleanup(func() {
		cancel()
		<-done
	})
	n.AwaitReady(t.Context())
	return n, ln.Addr().String()
}

// TestCommandsAllocateNothing: once its buffers have their size, a session handles
// commands without allocating.
func TestCommandsAllocateNothing(t *testing.T) {
	_, address := alone(t)
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	in := bufio.NewReader(conn)
	const commands = 64
	var lines []byte
	for i := range commands {
		lines = fmt.Appendf(lines, "IAMAT client%d +34.068930-118.445127 1000000000.000000000\n", i)
	}
	talk := func() {
		for end := range lines { // a second later
			if lines[end] != '\n' {
				continue
			}
			for digit := end - len(".000000000") - 1; ; digit-- {
				if lines[digit]++; lines[digit] <= '9' {
					break
				}
				lines[digit] = '0'
			}
		}
		if _, err := conn.Write(lines); err != nil {
			t.Fatal(err)
		}
		for range commands {
			if reply, err := in.ReadSlice('\n'); err != nil || !bytes.HasPrefix(reply, []byte("AT Solo ")) {
				t.Fatalf("reply %q, %v", reply, err)
			}
		}
	}
	for range 100 {
		talk()
	}
	// A tick of the pulse, or a collection that empties the pool, may fall into it.
	if perCommand := testing.AllocsPerRun(1000, talk) / commands; perCommand > 0.05 {
		t.Errorf("%.2f allocations a command, want none", perCommand)
	}
}

// TestIdleConnectionsAreSmall: of a client that says nothing, or nothing for a while,
// the server keeps a small stack and no buffers.
func TestIdleConnectionsAreSmall(t *testing.T) {
	for _, tt := range []struct{ name, said string }{{"silent", ""}, {"has spoken", "IAMAT kiwi +1+1 100\n"}, {"amid a line", "IAMAT kiwi +1+1 100\nIAMAT ki"}} {
		t.Run(tt.name, func(t *testing.T) {
			const clients, most = 2000, 4096 // bytes, with the test's own ends
			n, address := alone(t)
			used := func() int {
				runtime.GC()
				var m runtime.MemStats
				runtime.ReadMemStats(&m)
				return int(m.HeapAlloc + m.StackInuse)
			}
			before := used()
			for range clients {
				conn, err := net.Dial("tcp", address)
				if err != nil {
					t.Fatal(err)
				}
				defer conn.Close()
				if _, err := io.WriteString(conn, tt.said); err != nil {
					t.Fatal(err)
				}
				if tt.said != "" {
					if _, err := conn.Read(make([]byte, 100)); err != nil {
						t.Fatal(err)
					}
				}
			}
			for deadline := time.Now().Add(parkAfter + 10*time.Second); ; {
				open, _, _ := n.clients.counts()
				each := (used() - before) / clients
				if open == clients && each <= most {
					t.Logf("%d bytes an idle client, with the test's end of it", each)
					return
				}
				if time.Now().After(deadline) {
					t.Fatalf("%d bytes an idle client, want %d at most; %d of %d are connected", each, most, open, clients)
				}
				time.Sleep(parkAfter / 10)
			}
		})
	}
}
