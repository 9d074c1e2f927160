package main

import (
	"bytes"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"herd/node"
	"herd/places/stack"
)

func TestClientFiles(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		limit                            uint64
		servers, webServices, page, want int
	}{
		{56, 1, 0, 0, 8},
		{20, 1, 0, 0, 1},
		{20, 5, 2, 0, 1},
		{1024, 1, 0, 0, 976},
		{1024, 1, 1, 0, 876},
		{1024, 1, 3, 0, 720},
		{1024, 5, 0, 0, 182},
		{1024, 5, 0, 200, 142},
		{256, 1, 0, 200, 144},
		{1<<63 - 1, 1, 0, 0, 1<<31 - 1 - 48},
		{1<<64 - 1, 5, 3, 0, (1<<31 - 1 - 112 - 300) / 5},
	} {
		if got := clientFiles(tt.limit, tt.servers, tt.webServices, tt.page); got != tt.want {
			t.Errorf("clientFiles(%d, %d, %d, %d) = %d, want %d", tt.limit, tt.servers, tt.webServices, tt.page, got, tt.want)
		}
	}
}

// TestLimitConns: there is a limit and a warning only if HERD_MAX_CONNS is more than the
// limit of open files allows.
func TestLimitConns(t *testing.T) {
	t.Parallel()
	limit, known := openFilesLimit()
	if !known {
		t.Skip("the limit of open files is not known here")
	}
	files := clientFiles(limit, 1, 0, 0)
	for conns, want := range map[int]int{files - 1: 0, files: 0, files + 1: files} {
		var log bytes.Buffer
		s := settings{limits: node.Limits{Conns: conns}, places: stack.Config{Sources: []stack.Source{{Name: stack.Gazetteer}}}}
		if got := s.limitConns(slog.New(slog.NewTextHandler(&log, nil)), 1, 0); got != want {
			t.Errorf("HERD_MAX_CONNS=%d: the limit is %d, want %d", conns, got, want)
		}
		if warned := strings.Contains(log.String(), "level=WARN"); warned != (want > 0) {
			t.Errorf("HERD_MAX_CONNS=%d: the log is %q", conns, log.String())
		}
		log.Reset()
		s.defaultConns = true
		if got := s.limitConns(slog.New(slog.NewTextHandler(&log, nil)), 1, 0); got != want || strings.Contains(log.String(), "level=WARN") != (want > 0 && want < manyConns) {
			t.Errorf("HERD_MAX_CONNS=%d by default: the limit is %d, want %d; the log is %q", conns, got, want, log.String())
		}
	}
}

// TestOutOfFiles: when clients use up their share of the file descriptors, further ones
// wait, and everything else goes on: open connections, the journal, the operators' HTTP,
// and the connection to a broker that restarts.
func TestOutOfFiles(t *testing.T) {
	t.Parallel()
	conf, ops := filepath.Join(t.TempDir(), "nats.conf"), freeAddress(t)
	if err := os.WriteFile(conf, fmt.Appendf(nil, "listen: %s\nhttp: %s\n", freeAddress(t), freeAddress(t)), 0o600); err != nil {
		t.Fatal(err)
	}
	broker := startNATS(t, conf)
	p := start(t, []string{
		openFiles + "=64", "HERD_TOPOLOGY=Solo", "HERD_NATS_URL=" + broker.url, "HERD_JOURNAL=ack", "HERD_DATA_DIR=" + t.TempDir(),
		"HERD_LISTEN=127.0.0.1:0", "HERD_OPS_LISTEN=" + ops,
	}, "serve", "Solo")
	clients := p.stderr.await(t, `msg=listening .*clients=(\S+)`)[1]
	p.stderr.await(t, `level=WARN msg="HERD_MAX_CONNS .* HERD_MAX_CONNS=50000 open_files=64 client_connections=16`)

	var idle []*client
	for range 60 {
		idle = append(idle, dial(t, clients)) // the kernel connects those that wait
	}
	p.stderr.await(t, `msg="clients wait for file descriptors`)
	broker.kill()
	p.stderr.await(t, `msg="NATS disconnected"`)
	startNATS(t, conf)
	awaitReadyz(t, ops)
	for i, c := range []*client{idle[0], idle[59]} {
		if i == 1 { // it has waited until now
			for _, other := range idle[:59] {
				other.conn.Close()
			}
		}
		if reply := c.ask("IAMAT kiwi +1+1 1"); !strings.HasPrefix(reply, "AT Solo ") {
			t.Errorf("reply %q", reply)
		}
	}
	if text := p.stderr.String(); strings.Count(text, "clients wait for") != 1 || strings.Contains(text, "level=ERROR") {
		t.Errorf("the log has not one line that says that clients wait, or errors:\n%s", text)
	}
	p.stop()
}
