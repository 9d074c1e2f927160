package main

import (
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"herd/bus/topology"
)

// onTerminal starts herd on a terminal of its own, with that many columns and rows. What it
// writes is in stdout of the program.
func onTerminal(t *testing.T, columns, rows uint16, env []string, args ...string) *program {
	t.Helper()
	p, _ := onClosableTerminal(t, columns, rows, command(t, asProgram, env, args...))
	return p
}

// onClosableTerminal is onTerminal for a command, and returns what closes the terminal.
func onClosableTerminal(t *testing.T, columns, rows uint16, cmd *exec.Cmd) (p *program, closeTerminal func()) {
	t.Helper()
	master, terminal := openTerminal(t, columns, rows)
	defer terminal.Close()
	cmd.Stdin, cmd.Stdout, cmd.Stderr = terminal, terminal, terminal
	p = startCommand(t, cmd)
	go io.Copy(&p.stdout, master) // ends when the last user of the terminal closes it
	return p, func() { master.Close() }
}

// openTerminal opens a terminal with that many columns and rows: its master side, which is
// closed when the test ends, and the side of the programs.
func openTerminal(t *testing.T, columns, rows uint16) (master, terminal *os.File) {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Skip("no terminals here:", err)
	}
	t.Cleanup(func() { master.Close() })
	var number int
	control(master, func(fd int) { // with Fd, Close would wait for a Read to return
		if number, err = unix.IoctlGetInt(fd, unix.TIOCGPTN); err == nil {
			err = unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0)
		}
		if err == nil {
			err = unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &unix.Winsize{Col: columns, Row: rows})
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	terminal, err = os.OpenFile(fmt.Sprint("/dev/pts/", number), os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	return master, terminal
}

// TestClosedTerminal: a herd stops cleanly when its terminal is closed, and only then: a SIGHUP
// before that reloads it. With nohup it keeps running.
func TestClosedTerminal(t *testing.T) {
	t.Parallel()
	hangups := make(chan os.Signal, 1)
	signal.Notify(hangups, syscall.SIGHUP) // what is started does not ignore it then, even if this process runs under nohup
	defer signal.Stop(hangups)
	ops := freeAddress(t)
	env := append([]string{"HERD_TOPOLOGY=A-B", "HERD_LOG_LEVEL=info"}, anyPorts...)
	env = append(env, "HERD_OPS_LISTEN="+ops)
	controlling := &syscall.SysProcAttr{Setsid: true, Setctty: true}
	cmd := command(t, asProgram, env, "up")
	cmd.SysProcAttr = controlling
	p, closeTerminal := onClosableTerminal(t, 80, 24, cmd)
	p.stdout.await(t, `Ctrl-C stops the herd`)
	p.signal(syscall.SIGHUP)
	p.stdout.await(t, `msg=reloaded`)
	awaitReadyz(t, ops)
	closeTerminal()
	if got := p.status(); got != exitOK {
		t.Errorf("exit status %d after the terminal was closed", got)
	}

	log := filepath.Join(t.TempDir(), "log")
	cmd = command(t, asProgram, env, "up")
	nohup := exec.Command("sh", "-c", `trap '' HUP; exec "$0" up 2>"$1"`, cmd.Path, log)
	nohup.Env, nohup.SysProcAttr = cmd.Env, controlling
	p, closeTerminal = onClosableTerminal(t, 80, 24, nohup)
	p.stdout.await(t, `Ctrl-C stops the herd`)
	closeTerminal()
	p.signal(syscall.SIGHUP)
	eventually(t, func() error {
		text, err := os.ReadFile(log)
		if err == nil {
			err = contains(string(text), "msg=reloaded")
		}
		return err
	})
	p.stop()
}

// TestUpOnTerminal: the banner comes first, nothing that is not wrong follows, and what is
// wrong is shown behind it.
func TestUpOnTerminal(t *testing.T) {
	t.Parallel()
	p := onTerminal(t, 80, 24, append([]string{"HERD_TOPOLOGY=goloman"}, anyPorts...), "up")
	p.stdout.await(t, `^See the herd at http://127.0.0.1:\d+/\r\nherd goloman on bus nats://\S+\r\n\r\nSERVER +CLIENTS +NEIGHBOURS\r\n(?:\w+ +127.0.0.1:\d+ +[\w ]+\r\n){5}\r\nFor operators: (?s:.*)Ctrl-C stops the herd.\r\n\r\n$`)
	p.signal(os.Interrupt)
	if got := p.status(); got != exitOK || strings.Contains(p.stdout.String(), "level=") {
		t.Errorf("exit status %d, terminal\n%s", got, p.stdout.String())
	}

	p = onTerminal(t, 80, 24, append([]string{"HERD_TOPOLOGY=A-B", "HERD_NATS_URL=nats://127.0.0.1:1", "HERD_NAME=A"}, anyPorts...), "up")
	p.stdout.await(t, `^See the herd at \S+\r\nherd A-B on bus (?s:.*)Ctrl-C stops the herd.\r\n\r\n(?s:.*)level=WARN msg="HERD_NAME is ignored: up runs all servers"`)
	if strings.Contains(p.stdout.String(), "level=INFO") {
		t.Errorf("the log has more than warnings:\n%s", p.stdout.String())
	}
	p.signal(os.Interrupt)

	p = onTerminal(t, 80, 24, append([]string{"HERD_TOPOLOGY=A-B", "HERD_LOG_LEVEL=info"}, anyPorts...), "up")
	p.stdout.await(t, `^See the herd at \S+\r\nherd A-B on bus (?s:.*)Ctrl-C stops the herd.\r\n\r\n(?s:.*)level=INFO msg=ready`)
	p.stop()
}

// TestStatusWatch: blocks without a terminal, one place on a terminal, and Ctrl-C is no
// failure. NATS may be away for a while.
func TestStatusWatch(t *testing.T) {
	t.Parallel()
	h := startUp(t, "A-B")
	env := []string{"HERD_TOPOLOGY=A-B", "HERD_NATS_URL=" + h.nats}
	watch := []string{"status", "--watch", "--interval", "100ms"}
	const block = `\d{4}-\d\d-\d\d \d\d:\d\d:\d\d  every 100ms, Ctrl-C ends\n\nSERVER .*\nA .*\nB .*\n\n2 of 2 servers, all edges in step, all maps equal\n`
	plain := start(t, env, watch...)
	lines := start(t, env, append(watch, "--json")...)
	screen := onTerminal(t, 100, 24, env, watch...)
	small := onTerminal(t, 60, 5, env, watch...)
	plain.stdout.await(t, `^`+block+`\n`+block)
	lines.stdout.await(t, `^\{"time":"[^"]+","herd":\{"servers":\[\{"server":"A",.*\}\n\{"time":.*\}\n`)
	screen.stdout.await(t, `^\x1b\[\?25l\x1b\[2J\x1b\[H\S+ \S+  every 100ms, Ctrl-C ends\x1b\[K\r\n\x1b\[K\r\nSERVER(?s:.*)equal\x1b\[K\r\n\x1b\[J\x1b\[H\d(?s:.*)equal\x1b\[K\r\n\x1b\[J`)
	small.stdout.await(t, `… \d more lines?: the terminal is too small\x1b\[K\r\n\x1b\[J`)
	h.stop()
	plain.stdout.await(t, `Ctrl-C ends\n\n.*connection refused \(is the herd running`)
	lines.stdout.await(t, `\{"time":"[^"]+","error":".*connection refused`)
	for _, p := range []*program{plain, lines, screen, small} {
		p.signal(os.Interrupt)
		if got := p.status(); got != exitOK || p.stderr.String() != "" {
			t.Errorf("exit status %d after Ctrl-C, %s", got, p.stderr.String())
		}
	}
	screen.stdout.await(t, `\x1b\[\?25h$`) // the cursor is back
}

// TestEnvOnTerminal: no line of herd env is wider than the terminal, except a long word.
func TestEnvOnTerminal(t *testing.T) {
	t.Parallel()
	p := onTerminal(t, 110, 24, nil, "env")
	if got := p.status(); got != exitOK {
		t.Errorf("exit status %d", got)
	}
	p.stdout.await(t, `HERD_HANDSHAKE_TIMEOUT(?s:.*)disconnected\r\n$`)
	for line := range strings.Lines(p.stdout.String()) {
		if n := len([]rune(strings.TrimRight(line, "\r\n"))); n > 110 {
			t.Errorf("%d columns: %q", n, line)
		}
	}
}

// TestLoadHere: without addresses a load goes to the servers of the topology; it shows a bar on
// a terminal, and draws its figures.
func TestLoadHere(t *testing.T) {
	t.Parallel()
	graph, err := topology.Load("A-B")
	if err != nil {
		t.Fatal(err)
	}
	env := []string{"HERD_TOPOLOGY=A-B", "HERD_LISTEN=" + freeAddresses(t, len(graph.Servers()))}
	absent := start(t, env, "load")
	if got := absent.status(); got != exitFailure || !strings.Contains(absent.stderr.String(), "start the herd with herd up, or give the servers' addresses") {
		t.Errorf("without servers: exit status %d, %s", got, absent.stderr.String())
	}
	h := startUp(t, "A-B", env[1])
	file := t.TempDir() + "/load.svg"
	p := onTerminal(t, 100, 24, env, "load", "--rate", "2000", "--count", "5000", "--duration", "1m", "--clients", "100", "--plot", file)
	p.stdout.await(t, `\r\x1b\[K\[#+-+\] \d+ s, [\d,]+ replies, [\d,]+ per second\r\x1b\[K`)
	p.stdout.await(t, `(?s)SERVER  ADDRESS +REPLIES +PER SECOND +P50 .*\r\nA +`+h.addresses[0]+` +2,500 .*\r\nB +`+h.addresses[1]+` +2,500 .*\r\nall +5,000 `)
	if got := p.status(); got != exitOK {
		t.Errorf("exit status %d", got)
	}
	svg, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for d := xml.NewDecoder(strings.NewReader(string(svg))); ; {
		if _, err := d.Token(); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
	}
	for _, want := range []string{`herd load: 5,000 replies`, `>p50 \S+<`, `>p99\.9 \S+<`, `>max \S+<`, `class="own"`, `class="other"`, `>Replies per second, `} {
		if !regexp.MustCompile(want).Match(svg) {
			t.Errorf("the plot has no %s", want)
		}
	}
	if n := strings.Count(string(svg), `<rect class="other"`); n < 2 {
		t.Errorf("%d columns of rates", n)
	}
	for _, plot := range []string{t.TempDir(), t.TempDir() + "/none/load.svg"} {
		bad := start(t, env, "load", "--plot", plot)
		if got := bad.status(); got != exitUsage || !strings.Contains(bad.stderr.String(), "herd: --plot: ") {
			t.Errorf("--plot %s: exit status %d, %s", plot, got, bad.stderr.String())
		}
	}
	if renderer, err := exec.LookPath("rsvg-convert"); err == nil {
		if out, err := exec.Command(renderer, file, "-o", file+".png").CombinedOutput(); err != nil {
			t.Errorf("%v: %s", err, out)
		}
	}
}
