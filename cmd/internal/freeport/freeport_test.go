package freeport

import (
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
)

const childEnv = "HERD_TEST_FREEPORT_CHILD"

// TestMain: as a child it prints as many addresses as it is told, and exits when its input ends.
func TestMain(m *testing.M) {
	if n, err := strconv.Atoi(os.Getenv(childEnv)); err == nil {
		for range n {
			addresses, err := Addresses(1)
			if err != nil {
				fmt.Println(err)
				os.Exit(1)
			}
			fmt.Println(addresses[0])
		}
		os.Stdout.Close()
		os.Stdin.Read(make([]byte, 1))
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// TestAddresses: ports are free, consecutive, and never returned twice, neither by one process
// nor by several at the same time, also when they need more than one block.
func TestAddresses(t *testing.T) {
	owner := map[string]string{}
	note := func(address, who string) {
		t.Helper()
		if before := owner[address]; before != "" {
			t.Errorf("%s was given to %s and to %s", address, before, who)
		}
		owner[address] = who
	}
	const each = blockSize + 50
	for i := range 3 {
		child := exec.Command(os.Args[0])
		child.Env = append(os.Environ(), fmt.Sprintf("%s=%d", childEnv, each))
		stdin, err := child.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		stdout, err := child.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := child.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			stdin.Close()
			if err := child.Wait(); err != nil {
				t.Error(err)
			}
		})
		out, err := io.ReadAll(stdout)
		if err != nil {
			t.Fatal(err)
		}
		addresses := strings.Fields(string(out))
		if len(addresses) != each {
			t.Fatalf("a process got %d addresses, want %d: %.200s", len(addresses), each, out)
		}
		for _, a := range addresses {
			note(a, fmt.Sprint("process ", i))
		}
	}
	for _, n := range []int{1, 5, 150, 199} {
		addresses, err := Addresses(n)
		if err != nil || len(addresses) != n {
			t.Fatalf("Addresses(%d) = %q, %v", n, addresses, err)
		}
		first := portOf(t, addresses[0])
		for i, a := range addresses {
			note(a, "this process")
			if portOf(t, a) != first+i {
				t.Errorf("address %d of %d is %s, want port %d", i, n, a, first+i)
			}
			ln, err := net.Listen("tcp", a)
			if err != nil {
				t.Fatal(err)
			}
			ln.Close()
		}
	}
	if _, err := Addresses(blockSize); err == nil {
		t.Errorf("Addresses(%d) returns no error", blockSize)
	}
}

// TestTakenPort: a port on which somebody listens is left out.
func TestTakenPort(t *testing.T) {
	addresses, err := Addresses(1)
	if err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", addressOf(portOf(t, addresses[0])+2))
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	addresses, err = Addresses(2)
	if err != nil {
		t.Fatal(err)
	}
	if first := portOf(t, addresses[0]); first != portOf(t, ln.Addr().String())+1 {
		t.Errorf("got %q, want the first two ports behind %s", addresses, ln.Addr())
	}
}

func portOf(t *testing.T, address string) int {
	t.Helper()
	_, text, err := net.SplitHostPort(address)
	if err != nil {
		t.Fatal(err)
	}
	port, err := strconv.Atoi(text)
	if err != nil {
		t.Fatal(err)
	}
	return port
}
