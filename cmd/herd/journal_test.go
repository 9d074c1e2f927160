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

// TestJournalSurvivesAll: all servers and the bus are killed at once under load;
// restarted, they hold every record whose reply a client had read, all of them.
func TestJournalSurvivesAll(t *testing.T) {
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
			latest := map[string]string{} // by client, the last reply that was read
			for round := range 3 {
				h, clients := start()
				survived(t, h, latest)
				var mu sync.Mutex
				var writers sync.WaitGroup
				const reports = 100 // by each writer before the kill
				enough := make(chan error, len(clients))
				for i, c := range clients {
					writers.Go(func() {
						for n := 0; ; n++ {
							id := fmt.Sprintf("s%d.c%d", i, n%50)
							fmt.Fprintf(c.conn, "IAMAT %s +1+1 %d.%09d\n", id, 1_700_000_000+round, n)
							reply, err := c.r.ReadString('\n')
							if err != nil { // killed, or too early
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
			survived(t, h, latest)
			h.stop()
		})
	}
}

// survived checks that a herd holds, at every server, the records in latest or
// newer ones: a report that was in flight may have got in without its reply.
func survived(t *testing.T, h upHerd, latest map[string]string) {
	t.Helper()
	c := dial(t, h.addresses[0])
	defer c.conn.Close()
	for id, record := range latest {
		got := c.where(id)
		if got != record && !newer(t, got, record) {
			t.Errorf("%s: %q after all were killed, want %q or newer", id, got, record)
			continue
		}
		awaitAgreement(t, id, got, h.addresses...)
	}
}

// newer tells whether record a reports a later time than b.
func newer(t *testing.T, a, b string) bool {
	t.Helper()
	if !strings.HasPrefix(a, "AT ") {
		return false
	}
	return a[strings.LastIndexByte(a, ' '):] > b[strings.LastIndexByte(b, ' '):]
}

// TestJournalDirectory: a second process on a directory ends; a damaged journal is
// reported and does not stop a server from starting.
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

// TestRollingRestart: the servers are restarted one after the other under steady
// load on the others: nothing acknowledged is lost, and no server, once ready,
// answers with an older record than before it stopped.
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
			if before = c.where("kiwi"); !strings.HasPrefix(before, "AT ") {
				return fmt.Errorf("%s has %q", name, before)
			}
			return nil
		})
		processes[name].stop()
		serve(name)
		c = dial(t, addresses[name])
		if after := c.where("kiwi"); after != before && !newer(t, after, before) {
			t.Errorf("%s answered %q before its restart and %q after", name, before, after)
		}
		if got := c.where(name); got != own {
			t.Errorf("%s lost its own record: %q, want %q", name, got, own)
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
