package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// The end-to-end tests run herd as a process.

// patience is the timeout of a test that waits for an event.
const patience = time.Minute

// program is a process of herd, or of nats-server.
type program struct {
	t      testing.TB
	cmd    *exec.Cmd
	stdout output
	stderr output
	ended  chan struct{}
}

// start runs herd with args, and with no HERD_ variables but those of env.
func start(t testing.TB, env []string, args ...string) *program {
	t.Helper()
	return startAs(t, asProgram, env, args...)
}

// startAs starts the test binary with an environment variable that selects the program.
func startAs(t testing.TB, what string, env []string, args ...string) *program {
	t.Helper()
	return startCommand(t, command(t, what, env, args...))
}

// command is the command of startAs.
func command(t testing.TB, what string, env []string, args ...string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self, args...)
	cmd.Args[0] = "herd" // what the program is told about its name
	for _, pair := range os.Environ() {
		if !strings.HasPrefix(pair, envPrefix+"_") {
			cmd.Env = append(cmd.Env, pair)
		}
	}
	cmd.Env = append(append(cmd.Env, what+"=1"), env...)
	return cmd
}

// startCommand starts a command. Its output is collected where it goes nowhere else.
func startCommand(t testing.TB, cmd *exec.Cmd) *program {
	t.Helper()
	if runtime.GOOS == "windows" {
		t.Skip("skipped: processes are stopped by signals, which Windows does not have")
	}
	p := &program{t: t, cmd: cmd, ended: make(chan struct{})}
	if cmd.Stdout == nil {
		cmd.Stdout = &p.stdout
	}
	if cmd.Stderr == nil {
		cmd.Stderr = &p.stderr
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(p.ended)
		p.cmd.Wait() // its outcome is in ProcessState
	}()
	t.Cleanup(func() {
		p.cmd.Process.Kill()
		<-p.ended
		if strings.Contains(p.stderr.String(), "is in quarantine") && !strings.Contains(t.Name(), "Hostile") {
			t.Error("a server had a neighbour in quarantine that keeps to the protocol")
		}
		if t.Failed() {
			t.Logf("%s\n%s%s", strings.Join(cmd.Args, " "), p.stdout.String(), p.stderr.String())
		}
	})
	return p
}

// status waits for the end of the process and returns its exit status; -1 if it was
// killed by a signal.
func (p *program) status() int {
	p.t.Helper()
	select {
	case <-p.ended:
	case <-time.After(patience):
		p.t.Fatalf("herd %v still runs", p.cmd.Args[1:])
	}
	return p.cmd.ProcessState.ExitCode()
}

func (p *program) signal(s os.Signal) {
	p.t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		p.t.Fatal(err)
	}
}

// kill kills the process and waits for its end.
func (p *program) kill() {
	p.t.Helper()
	p.signal(syscall.SIGKILL)
	<-p.ended
}

// stop sends SIGTERM and checks that the process exits with 0.
func (p *program) stop() {
	p.t.Helper()
	p.signal(syscall.SIGTERM)
	if got := p.status(); got != exitOK {
		p.t.Errorf("herd %v: exit status %d after SIGTERM, want 0", p.cmd.Args[1:], got)
	}
}

// output is what a process has written so far.
type output struct {
	mu     sync.Mutex
	buf    bytes.Buffer
	change chan struct{} // closed at the next write
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.change != nil {
		close(o.change)
		o.change = nil
	}
	return o.buf.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}

// await waits until the output matches and returns the submatches.
func (o *output) await(t testing.TB, expression string) []string {
	t.Helper()
	re := regexp.MustCompile(expression)
	timeout := time.After(patience)
	for {
		o.mu.Lock()
		match := re.FindStringSubmatch(o.buf.String())
		if o.change == nil {
			o.change = make(chan struct{})
		}
		change := o.change
		o.mu.Unlock()
		if match != nil {
			return match
		}
		select {
		case <-change:
		case <-timeout:
			t.Fatalf("timeout: no %q in the output:\n%s", expression, o.String())
		}
	}
}

// anyPorts lets servers listen on free ports.
var anyPorts = []string{"HERD_LISTEN=127.0.0.1:0", "HERD_NATS_LISTEN=127.0.0.1:0", "HERD_OPS_LISTEN=127.0.0.1:0"}

// client is a client's connection.
type client struct {
	t    testing.TB
	conn *net.TCPConn
	r    *bufio.Reader
}

func dial(t testing.TB, address string) *client {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(patience))
	return &client{t, conn.(*net.TCPConn), bufio.NewReader(conn)}
}

func (c *client) send(text string) {
	c.t.Helper()
	c.conn.SetDeadline(time.Now().Add(patience)) // the write returns its error
	if _, err := io.WriteString(c.conn, text); err != nil {
		c.t.Fatal(err)
	}
}

func (c *client) line() string {
	c.t.Helper()
	line, err := c.r.ReadString('\n')
	if err != nil {
		c.t.Fatalf("reading a reply: %v, after %q", err, line)
	}
	return strings.TrimSuffix(line, "\n")
}

func (c *client) ask(command string) string {
	c.t.Helper()
	c.send(command + "\n")
	return c.line()
}

// lookup returns the record that the server has of a client; "? …" if it has none. It
// skips the JSON of the reply.
func (c *client) lookup(id string) string {
	c.t.Helper()
	record := c.ask("WHATSAT " + id + " 0 0")
	if strings.HasPrefix(record, "AT ") {
		for c.line() != "" {
		}
	}
	return record
}

// awaitAgreement waits until all servers have want as the record of a client.
func awaitAgreement(t testing.TB, id, want string, addresses ...string) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for _, address := range addresses {
		c := dial(t, address)
		for {
			got := c.lookup(id)
			if got == want {
				break
			}
			if time.Now().After(deadline) {
				t.Fatalf("%s has %q of %s, want %q", address, abridge(got), abridge(id), abridge(want))
			}
		}
		c.conn.Close()
	}
}

// abridge leaves out the middle of a long text, such as a record with a long ID.
func abridge(text string) string {
	const ends = 60
	if len(text) <= 3*ends {
		return text
	}
	return fmt.Sprintf("%s[%d bytes]%s", text[:ends], len(text)-2*ends, text[len(text)-ends:])
}

// eventually waits until check returns nil.
func eventually(t testing.TB, check func() error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	err := errors.New("not checked yet")
	for tick := time.Tick(5 * time.Millisecond); err != nil; {
		select {
		case <-tick:
			err = check()
		case <-ctx.Done():
			t.Fatal(err)
		}
	}
}

// awaitReadyz waits until /readyz at an operators' address says ready.
func awaitReadyz(t testing.TB, ops string) {
	t.Helper()
	eventually(t, func() error {
		reply, err := http.Get("http://" + ops + "/readyz")
		if err != nil {
			return err
		}
		defer reply.Body.Close()
		if reply.StatusCode != http.StatusOK {
			return fmt.Errorf("/readyz: %s", reply.Status)
		}
		return nil
	})
}
