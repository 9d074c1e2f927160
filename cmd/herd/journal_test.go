package main

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"herd/bus/embed"
	"herd/bus/topology"
)

// TestJournalSurvivesKill: all servers and the bus are killed at once under load. After a
// restart, every server holds every record whose reply a client had read.
func TestJournalSurvivesKill(t *testing.T) {
	for _, kind := range []string{"ack", "sync"} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			start := func() (upHerd, []*client) {
				h := startUp(t, "goloman", "HERD_JOURNAL="+kind, "HERD_DATA_DIR="+dir)
				var clients []*client
				for _, address := range h.addresses {
					clients = append(clients, dial(t, address))
				}
				return h, clients
			}
			latest := map[string]string{} // the last reply that was read, by client
			for round := range 3 {
				h, clients := start()
				checkSurvived(t, h, latest)
				var mu sync.Mutex
				var writers sync.WaitGroup
				const reports = 100 // of each writer before the kill
				enough := make(chan error, len(clients))
				for i, c := range clients {
					writers.Go(func() {
						for n := 0; ; n++ {
							id := fmt.Sprintf("s%d.c%d", i, n%50)
							fmt.Fprintf(c.conn, "IAMAT %s +1+1 %d.%09d\n", id, 1_700_000_000+round, n)
							reply, err := c.r.ReadString('\n')
							if err != nil { // expected after the kill, too early before
								if n <= reports {
									enough <- err
								}
								return
							}
							mu.Lock()
							latest[id] = strings.TrimSuffix(reply, "\n")
							mu.Unlock()
							if n == reports {
								enough <- nil
							}
						}
					})
				}
				for range clients {
					if err := <-enough; err != nil {
						t.Errorf("before the kill: %v", err)
					}
				}
				h.signal(syscall.SIGKILL)
				h.status()
				writers.Wait()
			}
			h, _ := start()
			checkSurvived(t, h, latest)
			h.stop()
		})
	}
}

// checkSurvived checks that every server holds the records in latest, or newer ones: a
// report in flight may have been stored before its reply was read.
func checkSurvived(t *testing.T, h upHerd, latest map[string]string) {
	t.Helper()
	c := dial(t, h.addresses[0])
	defer c.conn.Close()
	for id, record := range latest {
		got := c.lookup(id)
		if got != record && !newer(t, got, record) {
			t.Errorf("%s: %q after the kill, want %q or newer", id, got, record)
			continue
		}
		awaitAgreement(t, id, got, h.addresses...)
	}
}

// newer reports whether record a has a later time than b.
func newer(t *testing.T, a, b string) bool {
	t.Helper()
	if !strings.HasPrefix(a, "AT ") {
		return false
	}
	return a[strings.LastIndexByte(a, ' '):] > b[strings.LastIndexByte(b, ' '):]
}

// TestJournalDirectory: a second process with the same directory exits. A server with a
// corrupt journal reports it and starts.
func TestJournalDirectory(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	env := []string{"HERD_JOURNAL=ack", "HERD_DATA_DIR=" + dir}
	h := startUp(t, "Solo", env...)
	record := dial(t, h.addresses[0]).ask("IAMAT kiwi +1+1 100")

	second := start(t, append(append([]string{"HERD_TOPOLOGY=Solo"}, anyPorts...), env...), "up")
	if got := second.status(); got != exitFailure || !strings.Contains(second.stderr.String(), "another process uses") {
		t.Errorf("a second process: exit status %d, %s", got, second.stderr.String())
	}
	h.stop()

	h = startUp(t, "Solo", env...)
	awaitAgreement(t, "kiwi", record, h.addresses...)
	h.stop()
	blocks, err := filepath.Glob(filepath.Join(dir, "Solo", "stream", "jetstream", "*", "streams", "*", "msgs", "*.blk"))
	if err != nil || len(blocks) == 0 {
		t.Fatalf("no blocks of a journal: %v", err)
	}
	for _, b := range blocks {
		if err := os.Truncate(b, 10); err != nil {
			t.Fatal(err)
		}
	}
	h = startUp(t, "Solo", env...)
	h.stderr.await(t, `journal damaged`)
	dial(t, h.addresses[0]).ask("IAMAT kiwi +1+1 101")
	h.stop()
}

// TestRollingRestart: the servers are restarted one after the other, under load on the
// others. No acknowledged record is lost, and no server that is ready replies with an
// older record than before its restart.
func TestRollingRestart(t *testing.T) {
	t.Parallel()
	broker, err := embed.Start("127.0.0.1:0", slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(broker.Shutdown)
	graph, err := topology.Load("goloman")
	if err != nil {
		t.Fatal(err)
	}
	addresses, processes := map[string]string{}, map[string]*program{}
	serve := func(name string) {
		listen := addresses[name]
		if listen == "" {
			listen = "127.0.0.1:0"
		}
		processes[name] = start(t, []string{"HERD_NATS_URL=" + broker.URL(), "HERD_OPS_LISTEN=off", "HERD_LISTEN=" + listen}, "serve", name)
		addresses[name] = processes[name].stderr.await(t, `msg=listening .*clients=(\S+)`)[1]
	}
	for _, name := range graph.Servers() {
		serve(name)
	}
	for i, name := range graph.Servers() {
		load := dial(t, addresses[graph.Servers()[(i+1)%5]])
		stop, stopped := make(chan struct{}), make(chan string)
		go func() {
			var last string
			for n := 0; ; n++ {
				select {
				case <-stop:
					stopped <- last
					return
				default:
					last = load.ask(fmt.Sprintf("IAMAT kiwi +1+1 %d.%09d", 1000+i, n))
				}
			}
		}()
		c := dial(t, addresses[name])
		own := c.ask(fmt.Sprintf("IAMAT %s +1+1 1", name))
		var before string
		eventually(t, func() error {
			if before = c.lookup("kiwi"); !strings.HasPrefix(before, "AT ") {
				return fmt.Errorf("%s has %q", name, before)
			}
			return nil
		})
		processes[name].stop()
		serve(name)
		c = dial(t, addresses[name])
		if after := c.lookup("kiwi"); after != before && !newer(t, after, before) {
			t.Errorf("%s replied %q before its restart and %q after", name, before, after)
		}
		if got := c.lookup(name); got != own {
			t.Errorf("%s has lost its own record: %q, want %q", name, got, own)
		}
		close(stop)
		last := <-stopped
		var all []string
		for _, a := range addresses {
			all = append(all, a)
		}
		awaitAgreement(t, "kiwi", last, all...)
	}
	for _, p := range processes {
		p.stop()
	}
}
