package rivals

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Process is a process of a rival.
type Process struct {
	what   string
	cmd    *exec.Cmd
	output tail
	ended  chan struct{}
}

// patience is the maximum time for a process to start or to stop.
const patience = 20 * time.Second

// start starts a process with env in addition to the environment, but without its HERD_
// variables. The process is stopped when ctx ends.
func start(ctx context.Context, env []string, program string, args ...string) (*Process, error) {
	p := &Process{what: program + " " + strings.Join(args, " "), ended: make(chan struct{})}
	p.cmd = exec.CommandContext(ctx, program, args...)
	p.cmd.Cancel = func() error { return p.cmd.Process.Signal(syscall.SIGTERM) }
	p.cmd.WaitDelay = patience // then it is killed
	for _, pair := range os.Environ() {
		if !strings.HasPrefix(pair, "HERD_") {
			p.cmd.Env = append(p.cmd.Env, pair)
		}
	}
	p.cmd.Env = append(p.cmd.Env, env...)
	p.cmd.Stdout, p.cmd.Stderr = &p.output, &p.output
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", p.what, err)
	}
	go func() {
		defer close(p.ended)
		p.cmd.Wait() // its status does not matter; await reports its output
	}()
	return p, nil
}

// Stop stops the process and returns when it has exited.
func (p *Process) Stop() {
	p.cmd.Process.Signal(syscall.SIGTERM) // fails if it has exited, which is fine
	select {
	case <-p.ended:
	case <-time.After(patience):
		p.cmd.Process.Kill()
		<-p.ended
	}
}

// stop stops processes in parallel.
func stop(processes []*Process) {
	var group sync.WaitGroup
	for _, p := range processes {
		group.Go(p.Stop)
	}
	group.Wait()
}

// await calls check until it returns nil, the process exits, or patience ends.
func (p *Process) await(ctx context.Context, check func() error) error {
	deadline := time.After(patience)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		err := check()
		select {
		case <-p.ended: // checked first: check may have succeeded with another process at the same address
			return fmt.Errorf("%s has ended: %s", p.what, p.output.String())
		default:
		}
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-p.ended:
			return fmt.Errorf("%s has ended: %s", p.what, p.output.String())
		case <-deadline:
			return fmt.Errorf("%s is not ready in time: %w: %s", p.what, err, p.output.String())
		case <-tick.C:
		}
	}
}

// awaitPort waits until the process accepts connections at address.
func (p *Process) awaitPort(ctx context.Context, address string) error {
	return p.await(ctx, func() error {
		conn, err := net.DialTimeout("tcp", address, time.Second)
		if err == nil {
			conn.Close()
		}
		return err
	})
}

// awaitOutput waits until the process has printed a line.
func (p *Process) awaitOutput(ctx context.Context, line string) error {
	return p.await(ctx, func() error {
		if !slices.Contains(strings.Split(p.output.String(), "\n"), line) {
			return fmt.Errorf("it has not printed %q", line)
		}
		return nil
	})
}

// CPU is the processor time that processes have used so far.
func CPU(processes []*Process) (sum time.Duration) {
	for _, p := range processes {
		t, err := p.cpu()
		if err == nil {
			sum += t
		}
	}
	return sum
}

// cpu is the processor time of the process, to a hundredth of a second.
func (p *Process) cpu() (time.Duration, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.cmd.Process.Pid))
	if err != nil {
		return 0, err
	}
	// The name in parentheses may hold anything; utime and stime are the 12th and
	// 13th fields behind it, in clock ticks, which Linux fixes at 100 a second.
	fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
	if len(fields) < 13 {
		return 0, errors.New("/proc/<pid>/stat has an unknown format")
	}
	var ticks int
	for _, f := range fields[11:13] {
		n, err := strconv.Atoi(f)
		if err != nil {
			return 0, err
		}
		ticks += n
	}
	return time.Duration(ticks) * (time.Second / 100), nil
}

// Resident is the process's resident memory in bytes.
func (p *Process) Resident() (int, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		if f := strings.Fields(line); len(f) == 3 && f[0] == "VmRSS:" {
			kb, err := strconv.Atoi(f[1])
			return kb << 10, err
		}
	}
	return 0, errors.New("/proc/<pid>/status has no VmRSS")
}

func port(address string) string {
	_, port, _ := net.SplitHostPort(address)
	return port
}

// tail keeps the end of a process's output.
type tail struct {
	mu  sync.Mutex
	buf []byte
}

func (t *tail) Write(b []byte) (int, error) {
	const most = 8 << 10
	t.mu.Lock()
	defer t.mu.Unlock()
	t.buf = append(t.buf, b...)
	if over := len(t.buf) - most; over > 0 {
		t.buf = append(t.buf[:0], t.buf[over:]...)
	}
	return len(b), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(t.buf)
}
