package main

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"herd/bus/printable"
)

func pipe(t testing.TB) (r, w *os.File) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	t.Cleanup(func() { w.Close() })
	return r, w
}

// fillPipe writes to a pipe until it takes no more.
func fillPipe(t *testing.T, w *os.File) {
	t.Helper()
	w.SetWriteDeadline(time.Now().Add(100 * time.Millisecond))
	if _, err := w.Write(make([]byte, 1<<20)); err == nil {
		t.Fatal("the pipe takes everything")
	}
}

// TestOutputNotRead: a server whose output nobody reads, or whose reader is gone, answers
// as ever, counts the lines of its log that are lost, and stops as ever.
func TestOutputNotRead(t *testing.T) {
	t.Parallel()
	for name, closed := range map[string]bool{"full": false, "closed": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			outR, out := pipe(t)
			errR, err := pipe(t)
			if closed {
				outR.Close()
				errR.Close()
			} else {
				fillPipe(t, out)
				fillPipe(t, err)
			}
			clients, ops := freeAddress(t), freeAddress(t)
			cmd := command(t, asProgram, []string{
				"HERD_TOPOLOGY=A", "HERD_LOG_LEVEL=debug", "HERD_NATS_LISTEN=127.0.0.1:0",
				"HERD_LISTEN=" + clients, "HERD_OPS_LISTEN=" + ops,
			}, "up")
			cmd.Stdout, cmd.Stderr = out, err
			p := startCommand(t, cmd)
			awaitReadyz(t, ops)
			c := dial(t, clients)
			const reports = 10_000
			go func() {
				for i := range reports {
					fmt.Fprintf(c.conn, "IAMAT client%d +1+1 5\n", i)
				}
			}()
			for range reports {
				if line := c.line(); !strings.HasPrefix(line, "AT A ") {
					t.Fatalf("reply %q", line)
				}
			}
			if got := sum(scrape(t, "http://"+ops), "herd_log_lines_dropped_total"); got < 1 {
				t.Errorf("herd_log_lines_dropped_total is %v", got)
			}
			p.stop()
		})
	}
}

// TestLogComplete: without trouble the log has every line to the last, and the error that
// ends the process.
func TestLogComplete(t *testing.T) {
	t.Parallel()
	h := startUp(t, "A", "HERD_LOG_LEVEL=debug")
	c := dial(t, h.addresses[0])
	const reports = 1000
	for i := range reports {
		c.ask(fmt.Sprintf("IAMAT client%d +1+1 5", i))
	}
	h.stop()
	log := h.stderr.String()
	next := 0
	for _, m := range regexp.MustCompile(`record from client.* client([0-9]+) `).FindAllStringSubmatch(log, -1) {
		if m[1] != fmt.Sprint(next) {
			t.Fatalf("client%s in the log, want client%d", m[1], next)
		}
		next++
	}
	if next != reports || !strings.Contains(log, "msg=stopped") {
		t.Errorf("%d of %d records in the log, which ends with %q", next, reports, log[max(0, len(log)-200):])
	}

	taken := start(t, []string{"HERD_TOPOLOGY=A", "HERD_LISTEN=" + h.addresses[0], "HERD_OPS_LISTEN=" + h.addresses[0]}, "serve", "A")
	if got := taken.status(); got != exitFailure || !strings.HasPrefix(taken.stderr.String(), "herd: ") {
		t.Errorf("exit status %d, log %q; want 1 and an error", got, taken.stderr.String())
	}
}

// TestConsoleEscapes: nothing that a command or the log writes reaches a terminal raw.
func TestConsoleEscapes(t *testing.T) {
	t.Parallel()
	const nasty = "\x1b[2J \x7f \u009b \x9b \u202e \u2028 \r"
	var stdout, stderr bytes.Buffer
	c := newConsole(&stdout, &stderr)
	io.WriteString(c.Out, nasty+"\n")
	io.WriteString(c.Err, nasty+"\n")
	log := slog.New(slog.NewTextHandler(c.Err, nil))
	log.Warn("text", "err", fmt.Errorf("broken: %s\nforged", nasty), "peer", "a\x7fb", nasty, 1)
	c.log.Flush(patience)
	if run(t.Context(), []string{"serve", nasty}, &stdout, &stderr) != exitUsage {
		t.Error("a server of that name")
	}
	if run(t.Context(), []string{nasty}, &stdout, &stderr) != exitUsage {
		t.Error("a command of that name")
	}
	for _, out := range []string{stdout.String(), stderr.String()} {
		for line := range strings.Lines(out) {
			if !printable.Is(strings.TrimSuffix(line, "\n")) || strings.HasPrefix(line, "forged") {
				t.Errorf("line %q", line)
			}
		}
	}
	if strings.Count(stdout.String(), "\n") != 1 || strings.Count(stderr.String(), "\n") != 4 {
		t.Errorf("output %q, errors %q", stdout.String(), stderr.String())
	}
}
