//go:build !race

// The race detector changes costs.

package node

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"runtime"
	"testing"
	"time"
)

// These tests measure the whole process, so they do not run in parallel with others.

// TestCommandsAllocateNothing: after its buffers have grown, a session handles commands
// without allocating memory.
func TestCommandsAllocateNothing(t *testing.T) {
	_, address, _ := startSoloTCP(t, generous)
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
	report := func() {
		for end := range lines { // makes all times one second later
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
		report()
	}
	// Not quite 0: heartbeats allocate, and so does a session after a collection has
	// emptied the pool of buffers.
	if perCommand := testing.AllocsPerRun(1000, report) / commands; perCommand > 0.05 {
		t.Errorf("%.2f allocations per command, want at most 0.05", perCommand)
	}
}

// TestIdleConnectionsAreSmall: for a client that has sent nothing yet, or nothing for a
// while, the server has a small stack and no buffers.
func TestIdleConnectionsAreSmall(t *testing.T) {
	for _, tt := range []struct{ name, input string }{{"nothing sent", ""}, {"report sent", "IAMAT kiwi +1+1 100\n"}, {"incomplete line sent", "IAMAT kiwi +1+1 100\nIAMAT ki"}} {
		t.Run(tt.name, func(t *testing.T) {
			// In bytes, including the test's ends of the connections: 3600 to 4500, because the runtime begins
			// goroutines with larger stacks if others needed them. The smallest buffer would add 4096.
			const clients, most = 2000, 6000
			limits := generous
			limits.Conns = 10_000
			n, address, _ := startSoloTCP(t, limits)
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
				if _, err := io.WriteString(conn, tt.input); err != nil {
					t.Fatal(err)
				}
				if tt.input != "" {
					if _, err := conn.Read(make([]byte, 100)); err != nil {
						t.Fatal(err)
					}
				}
			}
			for deadline := time.Now().Add(parkAfter + 10*time.Second); ; {
				open, _ := n.clients.counts()
				each := (used() - before) / clients
				if open == clients && each <= most {
					t.Logf("%d bytes per idle client, including the test's end of its connection", each)
					return
				}
				if time.Now().After(deadline) {
					t.Fatalf("%d bytes per idle client, want at most %d; %d of %d are connected", each, most, open, clients)
				}
				time.Sleep(parkAfter / 10)
			}
		})
	}
}
