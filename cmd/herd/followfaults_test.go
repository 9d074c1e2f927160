//go:build linux

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"sync"
	"testing"

	"herd/bus/access"
	"herd/bus/access/keydir"
	"herd/bus/natsbus"
	"herd/bus/topology"
	"herd/node/status"
)

// TestFollowThroughFaults: ten followers of a herd, on a broker that requires keys, end with the map of the
// servers after each fault. One does not read its output, and harms nobody.
func TestFollowThroughFaults(t *testing.T) {
	for _, spec := range []string{"goloman", "riley"} {
		graph, err := topology.Load(spec)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range faultsOf(graph) {
			if name := spec + ": " + f.name; !*longFaults && !followedInShort[name] || testing.Short() && name != followedInShortest {
				continue
			}
			t.Run(spec+"/"+strings.ReplaceAll(f.name, " ", "_"), func(t *testing.T) {
				if !*longFaults {
					t.Parallel()
				}
				h := newProcesses(t, spec)
				h.guard()
				f.run(h, h.startFollowers)
			})
		}
	}
}

// followedInShort are the faults that are tried without -long.
var followedInShort = map[string]bool{
	"goloman: Wilkes cut off for 5s":        true,
	"goloman: broker killed, back after 2s": true,
	"riley: Juzang killed, back after 1s":   true,
	"riley: Bernard stopped for 10s":        true,
}

// followedInShortest is the fault that is tried with -short.
const followedInShortest = "goloman: broker killed, back after 2s"

// startFollowers starts ten `herd follow`: one that is not read, some of one server each, and some of any.
// check fails unless the others have the herd's map.
func (h *herdProcesses) startFollowers() (check func()) {
	h.t.Helper()
	followers := map[string]*followedMap{}
	_, unread := pipe(h.t)
	for i := range 10 {
		args := []string{"follow", "--interval=500ms"}
		name := fmt.Sprint("follower ", i)
		if i%2 == 0 {
			server := h.graph.Servers()[i/2]
			args = append(args, "--server", server)
			name += " of " + server
		}
		cmd := command(h.t, asProgram, h.busEnv(h.brokerAt), args...)
		if i == 9 {
			cmd.Stdout = unread
		} else {
			followers[name] = &followedMap{lines: map[string]string{}}
			cmd.Stdout = followers[name]
		}
		startCommand(h.t, cmd)
	}
	// A follower that cannot begin ends with an error, so all must have begun before anything fails.
	address := h.addresses[h.graph.Servers()[0]]
	first := map[string]string{"first": dial(h.t, address).ask("IAMAT first +1+1 5")}
	for name, f := range followers {
		eventually(h.t, func() error {
			if err := f.compare(first); err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
			return nil
		})
	}
	return func() {
		want := h.dump(h.graph.Servers()[0])
		for name, f := range followers {
			eventually(h.t, func() error {
				if err := f.compare(want); err != nil {
					return fmt.Errorf("%s: %w", name, err)
				}
				return nil
			})
		}
	}
}

// dump is the map of a server: lines, by client.
func (h *herdProcesses) dump(server string) map[string]string {
	h.t.Helper()
	f := &followedMap{lines: map[string]string{}}
	cfg := natsbus.Config{URLs: []string{"nats://" + h.brokerAt}, Prefix: "herd", Seed: keydir.SeedFile(h.keys, access.GuestUser)}
	complete := errors.New("complete")
	err := natsbus.Follow(context.Background(), cfg, status.DumpEndpoint, server, nil, func(frame natsbus.Frame) error {
		f.Write(frame.Data)
		if frame.SnapshotEnd {
			return complete
		}
		return nil
	})
	if err != complete {
		h.t.Fatalf("dump of %s: %v", server, err)
	}
	return f.lines
}

// followedMap is the map that the output of a follower describes.
type followedMap struct {
	mu    sync.Mutex
	rest  []byte // an incomplete line
	lines map[string]string
}

func (f *followedMap) Write(p []byte) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.rest = append(f.rest, p...)
	end := bytes.LastIndexByte(f.rest, '\n') + 1
	for line := range bytes.Lines(f.rest[:end]) {
		text := strings.TrimSuffix(string(line), "\n")
		if client, ok := strings.CutPrefix(text, "- "); ok {
			delete(f.lines, client)
		} else if fields := strings.Fields(text); len(fields) == 6 {
			f.lines[fields[3]] = text
		}
	}
	f.rest = append(f.rest[:0], f.rest[end:]...)
	return len(p), nil
}

func (f *followedMap) compare(want map[string]string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if maps.Equal(f.lines, want) {
		return nil
	}
	for client, line := range want {
		if f.lines[client] != line {
			return fmt.Errorf("it has %d clients, the server %d; of client %s it has %q, the server %q", len(f.lines), len(want), client, f.lines[client], line)
		}
	}
	return fmt.Errorf("it has %d clients, the server %d", len(f.lines), len(want))
}
