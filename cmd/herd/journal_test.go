package main

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"herd/bus/embed"
	"herd/bus/topology"
)

// TestJournalSurvivesKill: all servers and the bus are killed at once under load. After a
// restart, every server holds every record whose reply a client had read. Records that
// are large make the servers compact their journals several times a second.
func TestJournalSurvivesKill(t *testing.T) {
	for _, c := range []struct {
		kind             string
		clients, padding int // of each of five writers; of each client's name
		reports          int // of each writer before the kill
		compacted        bool
	}{
		{"ack", 50, 0, 100, false}, {"sync", 50, 0, 100, false}, {"ack", 5, 4000, 150, true}, {"sync", 5, 4000, 150, true},
	} {
		t.Run(fmt.Sprintf("%s compacted=%v", c.kind, c.compacted), func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			start := func() (upHerd, []*client) {
				h := startUp(t, "goloman", "HERD_JOURNAL="+c.kind, "HERD_DATA_DIR="+dir, "HERD_LOG_LEVEL=debug")
				var clients []*client
				for _, address := range h.addresses {
					clients = append(clients, dial(t, address))
				}
				return h, clients
			}
			latest := map[string]string{} // the last reply that was read, by client
			rounds := 3
			if testing.Short() {
				rounds = 1
			}
			for round := range rounds {
				h, clients := start()
				checkSurvived(t, h, latest)
				var mu sync.Mutex
				var writers sync.WaitGroup
				enough := make(chan error, len(clients))
				for i, writer := range clients {
					writers.Go(func() {
						for n := 0; ; n++ {
							id := fmt.Sprintf("s%d.c%d.%s", i, n%c.clients, strings.Repeat("x", c.padding))
							fmt.Fprintf(writer.conn, "IAMAT %s +1+1 %d.%09d\n", id, 1_700_000_000+round, n)
							reply, err := writer.r.ReadString('\n')
							if err != nil { // expected after the kill, too early before
								if n <= c.reports {
									enough <- err
								}
								return
							}
							mu.Lock()
							latest[id] = strings.TrimSuffix(reply, "\n")
							mu.Unlock()
							if n == c.reports {
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
				log := h.stderr.String()
				if got := strings.Count(log, `msg="journal compacted"`); c.compacted != (got > 0) {
					t.Errorf("%d compactions before the kill", got)
				}
				if strings.Contains(log, "journal damaged") {
					t.Errorf("a kill has damaged a journal:\n%s", log)
				}
			}
			h, _ := start()
			checkSurvived(t, h, latest)
			h.stop()
		})
	}
}

// checkSurvived checks that the servers agree on the records in latest, or on newer ones: a
// report in flight may have been stored before its reply was read. A server may be ready
// before its neighbours are, and then gets their records a moment later.
func checkSurvived(t *testing.T, h upHerd, latest map[string]string) {
	t.Helper()
	var servers []*client
	for _, address := range h.addresses {
		c := dial(t, address)
		defer c.conn.Close()
		servers = append(servers, c)
	}
	for id, record := range latest {
		eventually(t, func() error {
			want := record
			for i, c := range servers {
				got := c.lookup(id)
				if i == 0 && newer(t, got, record) {
					want = got
				}
				if got != want {
					return fmt.Errorf("%s has %q of %s after the kill, want %q or newer", h.addresses[i], abridge(got), abridge(id), abridge(want))
				}
			}
			return nil
		})
	}
}

// newer reports whether record a has a later time than b.
func newer(t testing.TB, a, b string) bool {
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
	for _, name := range journalFiles(t, dir, "Solo") {
		if err := os.Truncate(name, 10); err != nil {
			t.Fatal(err)
		}
	}
	h = startUp(t, "Solo", env...)
	h.stderr.await(t, `journal damaged`)
	dial(t, h.addresses[0]).ask("IAMAT kiwi +1+1 101")
	h.stop()
}

// journalFiles returns the files of a server's journal that have content.
func journalFiles(t *testing.T, dir, server string) (names []string) {
	t.Helper()
	all, err := filepath.Glob(filepath.Join(dir, server, "segment-*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range all {
		if info, err := os.Stat(name); err != nil {
			t.Fatal(err)
		} else if info.Size() > 0 {
			names = append(names, name)
		}
	}
	if len(names) == 0 {
		t.Fatal("the journal has no files with content")
	}
	return names
}

// TestFlippedBit: one flipped bit in a journal costs one frame at most. The damaged file
// is kept, whole, and named in the log. The same after a kill and after a stop.
func TestFlippedBit(t *testing.T) {
	for _, killed := range []bool{true, false} {
		t.Run(fmt.Sprint("killed=", killed), func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			env := []string{"HERD_JOURNAL=ack", "HERD_DATA_DIR=" + dir}
			h := startUp(t, "Solo", env...)
			const clients = 5000
			var reports strings.Builder
			for i := range clients {
				fmt.Fprintf(&reports, "IAMAT kiwi%d +1+1 100\n", i)
			}
			c := dial(t, h.addresses[0])
			go io.WriteString(c.conn, reports.String())
			for range clients {
				c.line()
			}
			if killed {
				h.kill()
			} else {
				h.stop()
			}
			name := journalFiles(t, dir, "Solo")[0]
			content, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			content[len(content)/2] ^= 1
			if err := os.WriteFile(name, content, 0o600); err != nil {
				t.Fatal(err)
			}
			h = startUp(t, "Solo", env...)
			kept := h.stderr.await(t, `msg="journal damaged".* of \d+ frames? (?:is|are) lost.* kept as (segment-\S+damaged)`)[1]
			records, err := strconv.Atoi(h.stderr.await(t, `msg="journal read".* records=(\d+)`)[1])
			if err != nil || records >= clients || records < clients-2500 {
				t.Errorf("%d of %d records were read, want all but those of one frame", records, clients)
			}
			h.stderr.await(t, `msg="journal compacted"`)
			h.stop()
			if left, err := os.ReadFile(filepath.Join(dir, "Solo", kept)); err != nil || !bytes.Equal(left, content) {
				t.Errorf("%s has %d bytes, %v, want the %d of the damaged file", kept, len(left), err, len(content))
			}
			h = startUp(t, "Solo", env...)
			again := h.stderr.await(t, `msg="journal read".* records=(\d+)`)[1]
			if log := h.stderr.String(); strings.Contains(log, "journal damaged") || again != strconv.Itoa(records) {
				t.Errorf("after the compaction: want %d records and no damage:\n%s", records, log)
			}
			h.stop()
		})
	}
}

// TestStartWithoutDescriptors: a start without enough file descriptors ends with 1, or
// works. It takes nothing from the journal.
func TestStartWithoutDescriptors(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	env := []string{"HERD_JOURNAL=ack", "HERD_DATA_DIR=" + dir}
	h := startUp(t, "Solo", env...)
	record := dial(t, h.addresses[0]).ask("IAMAT kiwi +1+1 100")
	h.stop()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	failed := 0
	for limit := 5; limit < 20; limit++ {
		cmd := exec.Command("sh", "-c", fmt.Sprintf(`ulimit -n %d && exec "$0" up`, limit), self)
		cmd.Env = append(append(append(os.Environ(), asProgram+"=1", "HERD_TOPOLOGY=Solo"), anyPorts...), env...)
		var stderr output
		cmd.Stderr = &stderr
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		ended := make(chan error, 1)
		go func() { ended <- cmd.Wait() }()
		select {
		case <-ended:
			if failed++; strings.Contains(stderr.String(), "damage") {
				t.Errorf("with %d descriptors: %s", limit, stderr.String())
			}
		case <-time.After(time.Second):
			cmd.Process.Kill()
			<-ended
		}
	}
	if failed == 0 {
		t.Error("no start failed")
	}
	h = startUp(t, "Solo", env...)
	awaitAgreement(t, "kiwi", record, h.addresses...)
	if log := h.stderr.String(); strings.Contains(log, "damage") {
		t.Error(log)
	}
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
