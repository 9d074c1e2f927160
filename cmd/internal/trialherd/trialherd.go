// Package trialherd builds the program herd and runs `herd up` on free ports, for commands that
// make pictures of its page or measure it.
package trialherd

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"time"
)

// Herd is a herd that runs.
type Herd struct {
	Program string   // path of the program herd
	Page    string   // URL, with a slash at the end
	Clients []string // addresses for clients, in the order of the topology

	cmd *exec.Cmd
	dir string
}

var (
	pageLine   = regexp.MustCompile(`^See the herd at (http://\S+)`)
	serverLine = regexp.MustCompile(`^\S+ +(127\.0\.0\.1:\d+) `)
)

// Start builds the program and starts a herd, with further variables of the environment. It must run in
// the repository. The herd logs to standard error.
func Start(ctx context.Context, env ...string) (*Herd, error) {
	dir, err := os.MkdirTemp("", "herd")
	if err != nil {
		return nil, err
	}
	h := &Herd{Program: filepath.Join(dir, "herd"), dir: dir}
	build := exec.CommandContext(ctx, "go", "build", "-o", h.Program, "herd/cmd/herd")
	build.Stderr = os.Stderr
	if err := build.Run(); err != nil {
		os.RemoveAll(dir)
		return nil, fmt.Errorf("build herd: %w", err)
	}
	h.cmd = exec.CommandContext(ctx, h.Program, "up")
	h.cmd.Env = append(os.Environ(), "HERD_LISTEN=127.0.0.1:0", "HERD_NATS_LISTEN=127.0.0.1:0", "HERD_OPS_LISTEN=127.0.0.1:0", "HERD_LOG_LEVEL=warn")
	h.cmd.Env = append(h.cmd.Env, env...)
	h.cmd.Stderr = os.Stderr
	h.cmd.Cancel = func() error { return h.cmd.Process.Signal(syscall.SIGTERM) }
	h.cmd.WaitDelay = 15 * time.Second
	out, err := h.cmd.StdoutPipe()
	if err == nil {
		err = h.cmd.Start()
	}
	if err != nil {
		os.RemoveAll(dir)
		return nil, fmt.Errorf("start herd: %w", err)
	}
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		if m := pageLine.FindStringSubmatch(lines.Text()); m != nil {
			h.Page = m[1]
		}
		if m := serverLine.FindStringSubmatch(lines.Text()); m != nil {
			h.Clients = append(h.Clients, m[1])
		}
		if strings.HasPrefix(lines.Text(), "Ctrl-C") {
			break
		}
	}
	if h.Page == "" || len(h.Clients) == 0 {
		h.Stop()
		return nil, fmt.Errorf("herd up prints no address of its page or of its servers")
	}
	go func() { // what follows in the output is of no interest
		for lines.Scan() {
		}
	}()
	return h, nil
}

// PID is the number of the herd's process.
func (h *Herd) PID() int { return h.cmd.Process.Pid }

// Stop stops the herd and waits until it has ended.
func (h *Herd) Stop() {
	h.cmd.Process.Signal(syscall.SIGTERM)
	h.cmd.Wait()
	os.RemoveAll(h.dir)
}
