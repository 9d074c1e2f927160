package main

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// shellBlock is a shell on a terminal of its own that runs one block, and the programs that
// it has started. The shell has job control, as one that a reader types into: each job has a
// process group, and Ctrl-C reaches the one in the foreground only.
type shellBlock struct {
	cmd      *exec.Cmd
	script   string
	master   *os.File // the keyboard
	out      string   // file with what the programs print
	statuses string   // file with the exit statuses of herd and nats-server: see program
	ended    chan struct{}
}

// runBlock runs a script. What it prints goes to a file, not to the terminal, so that the
// programs' log is not shortened. Only the shell has the terminal as its standard error at first: it
// takes job control from there.
func runBlock(t *testing.T, dir string, env []string, script string) *shellBlock {
	t.Helper()
	master, terminal := openTerminal(t, 80, 24)
	defer terminal.Close()
	files := t.TempDir()
	b := &shellBlock{
		cmd: exec.Command("bash", "-m", "-e", "-o", "pipefail", "-c", "exec 2>&1\n"+script), script: script, master: master,
		out: filepath.Join(files, "output"), statuses: filepath.Join(files, "statuses"), ended: make(chan struct{}),
	}
	out, err := os.Create(b.out)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	b.cmd.Dir, b.cmd.Env = dir, slices.Concat(env, []string{statusesOf + "=" + b.statuses})
	b.cmd.Stdin, b.cmd.Stdout, b.cmd.Stderr = terminal, out, terminal
	b.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true} // of its standard input
	if err := b.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(b.ended)
		b.cmd.Wait() // its outcome is in ProcessState
	}()
	return b
}

// over reports whether the shell has exited. Programs that it left in the background may
// still run.
func (b *shellBlock) over() bool {
	select {
	case <-b.ended:
		return true
	default:
		return false
	}
}

func (b *shellBlock) output(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(b.out)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// stop presses Ctrl-C if the shell still runs, and waits until the shell and all that it has
// started have exited. They must do so, with a status that says that they were stopped.
func (b *shellBlock) stop(t *testing.T) {
	t.Helper()
	interrupted := !b.over()
	if interrupted {
		b.master.Write([]byte{3}) // fails if the shell has exited meanwhile
	}
	for deadline := time.Now().Add(patience / 2); !b.over() || len(b.processes(t)) > 0; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Errorf("Ctrl-C leaves programs of this block that run:\n%s", b.script)
			b.kill(t)
		}
	}
	if status, ok := b.cmd.ProcessState.Sys().(syscall.WaitStatus); interrupted && ok && status.Signal() != syscall.SIGINT && !slices.Contains([]int{0, 128 + int(syscall.SIGINT)}, status.ExitStatus()) {
		t.Errorf("after Ctrl-C this block ends with %v:\n%s%s", b.cmd.ProcessState, b.script, b.output(t))
	}
}

// failures returns the programs that have exited with another status than 0, one per line.
func (b *shellBlock) failures(t *testing.T) (lines []string) {
	t.Helper()
	text, err := os.ReadFile(b.statuses)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if !strings.HasPrefix(line, "0 ") {
			lines = append(lines, line)
		}
	}
	return lines
}

// processes returns the processes of the terminal: those in the shell's session that have not
// exited.
func (b *shellBlock) processes(t *testing.T) (ids []int) {
	t.Helper()
	all, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range all {
		text, err := os.ReadFile(file)
		if err != nil {
			continue // it has exited
		}
		_, rest, _ := strings.Cut(string(text), ") ") // behind the name: state, parent, group, session
		fields := strings.Fields(rest)
		id, err := strconv.Atoi(filepath.Base(filepath.Dir(file)))
		if err == nil && len(fields) > 3 && fields[0] != "Z" && fields[3] == strconv.Itoa(b.cmd.Process.Pid) {
			ids = append(ids, id)
		}
	}
	return ids
}

// kill ends every process of the terminal, and waits until they have exited.
func (b *shellBlock) kill(t *testing.T) {
	t.Helper()
	for ids := b.processes(t); len(ids) > 0; ids = b.processes(t) {
		for _, id := range ids {
			syscall.Kill(id, syscall.SIGKILL)
		}
		time.Sleep(5 * time.Millisecond)
	}
	<-b.ended
}
