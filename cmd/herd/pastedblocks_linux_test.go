package main

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// The tests of this file run the blocks of the documentation as a reader would paste them.
//
// The blocks with the language sh of one page run in order, in an empty directory, each in a
// terminal of its own. A block is over when it exits, with status 0, or when its output shows
// that a program has started (see started). Such programs run until the next heading, where
// Ctrl-C must stop all of them, with status 0. If a section's text says "`herd up` in another
// terminal", that herd runs before its first block.
//
// A block without a language is output: of the block before it, or of a program that still
// runs. It must be equal after normalization (see volatile), except that … in it stands for
// anything, and a line with nothing else for any number of lines.
//
// Wrappers around the programs choose free ports; in blocks and their output, the documented
// ports and these are exchanged (see documentedPorts).

// notRun has the blocks that are not run, by a line in them, and the output that is not
// compared.
var notRun = []struct{ page, line, reason string }{
	{"README.md", "docker compose up", "needs Docker; the tests in compose run it"},
	{"compose/README.md", "docker compose up", "needs Docker; the tests in compose run it"},
	{"compose/README.md", "herd_goloman_1   /herd serve Goloman", "needs Docker"},
	{"compose/README.md", "go run ./cmd/herd ask 127.0.0.1:12003", "needs the containers"},
	{"compose/README.md", "docker compose exec welsh", "needs Docker"},
	{"compose/README.md", "curl -s http://127.0.0.1:12083/readyz", "needs the containers"},
	{"compose/README.md", "docker compose cp keys:/bus/ops.nk", "needs Docker"},
	{"node/OPERATING.md", "sudo compose/systemd/install.sh", "needs systemd as process 1; .ci/run checks units and script"},
	{"cmd/herd/README.md", "CGO_ENABLED=0 go build", "writes the program to the checkout; .ci/reproducible runs it"},
	{"bus/README.md", "go install github.com/nats-io/nats-server", "downloads programs; the tests use those that are installed"},
	{"bus/README.md", "msg=denied", "an example of a server with the rights of another topology"},
	{"bus/README.md", "herd.event.Goloman.down.Wilkes", "examples of events"},
	{"BENCHMARKS.md", "HERD_KEEP=1m herd up", "its million records would slow down every test beside it"},
	{"BENCHMARKS.md", "herd load --clients 1000000", "belongs to the block before it"},
}

// unordered is output whose lines have no fixed order.
var unordered = []struct{ page, line, reason string }{
	{"bus/README.md", "record from client", "several servers log at the same time"},
	{"bus/README.md", "[#1] Received on", "nats prints headers in any order"},
	{"node/OPERATING.md", "Welsh client open", "the server may read the second line with the first, or later"},
}

// fails has the blocks whose exit status is not 0.
var fails = []struct{ page, line, reason string }{
	{"bus/README.md", "nats pub herd.edge.Welsh.Holiday hello", "the broker denies it"},
	{"bus/README.md", "herd reload\n", "it needs the operators' key"},
}

// started matches the output of a program that keeps running and is ready for what the page
// does next.
var started = regexp.MustCompile(`Try[:,]|ask .*IAMAT|^enter AT|^\{"client"|msg=ready|Server is ready|Subscribing on|INFO \{|start started|^The page is at`)

// otherPrograms matches the programs that a reader needs besides herd and nats-server.
var otherPrograms = regexp.MustCompile(`(?m)(?:^|[|(;&] *)(nats|nc|curl|man|openssl) `)

// TestPastedBlocks runs the blocks of every page.
func TestPastedBlocks(t *testing.T) {
	if testing.Short() {
		t.Skip("skipped with -short: it runs every block of every page")
	}
	t.Parallel()
	if _, err := exec.LookPath("bash"); err != nil {
		t.Skip("bash is not installed")
	}
	known := []string{"", "sh", "mermaid", "conf"} // of these, sh is run
	used := map[string]bool{}
	for _, page := range readMarkdown(t) {
		for _, s := range page.sections {
			for _, b := range s.blocks {
				if !slices.Contains(known, b.language) {
					t.Errorf("%s:%d: a block in %q: commands are in sh, output has no language", page.path, b.line, b.language)
				}
				for _, e := range slices.Concat(notRun, unordered, fails) {
					if e.page == page.path && strings.Contains(b.text, e.line) {
						used[e.page+e.line] = true
					}
				}
			}
		}
		if slices.ContainsFunc(page.sections, func(s section) bool { return len(s.shell()) > 0 }) {
			t.Run(strings.ReplaceAll(page.path, "/", "-"), func(t *testing.T) {
				t.Parallel()
				r := newReader(t)
				defer r.stopAll() // before a cleanup closes the terminals
				r.read(page)
				if len(r.skipped) > 0 {
					t.Skip("skipped: " + strings.Join(r.skipped, "; "))
				}
			})
		}
	}
	for _, e := range slices.Concat(notRun, unordered, fails) {
		if !used[e.page+e.line] {
			t.Errorf("%s has no block with %q (%s): remove the exception", e.page, e.line, e.reason)
		}
	}
}

// shell returns the blocks of shell commands.
func (s section) shell() (blocks []block) {
	for _, b := range s.blocks {
		if b.language == "sh" {
			blocks = append(blocks, b)
		}
	}
	return blocks
}

func excepted(exceptions []struct{ page, line, reason string }, page string, b block) (reason string) {
	for _, e := range exceptions {
		if e.page == page && strings.Contains(b.text, e.line) {
			return e.reason
		}
	}
	return ""
}

// read runs the blocks of a page.
func (r *reader) read(page markdown) {
	r.t.Helper()
	for _, s := range page.sections {
		if strings.Contains(strings.Join(strings.Fields(s.prose), " "), "`herd up` in another terminal") {
			r.paste(page, block{text: "herd up\n"})
		}
		pasted, all := false, true // whether there is output, and whether every block was run
		for _, b := range s.blocks {
			switch {
			case excepted(notRun, page.path, b) != "":
				all = all && b.language != "sh"
			case b.language == "sh":
				pasted = r.paste(page, b)
				all = all && pasted
			case b.language == "" && pasted && all:
				r.compare(page, b)
			}
		}
		r.stopAll()
	}
}

// paste runs a block until it is over. It returns whether it could.
func (r *reader) paste(page markdown, b block) bool {
	r.t.Helper()
	where := fmt.Sprintf("%s:%d", page.path, b.line)
	if checkedOnly.MatchString(b.text) {
		for command := range strings.Lines(strings.ReplaceAll(b.text, "\\\n", " ")) {
			r.check(where, command)
		}
		return false
	}
	for _, program := range otherPrograms.FindAllStringSubmatch(b.text, -1) {
		find := exec.Command("bash", "-c", "command -v "+program[1])
		find.Env = r.env
		if find.Run() != nil {
			r.skipped = append(r.skipped, where+" needs "+program[1]+", which is not installed")
			return false
		}
	}
	r.settle()
	r.t.Logf("%s\n%s", where, b.text)
	run := runBlock(r.t, r.dir, r.env, r.real.Replace(b.text))
	runs := false
	eventually(r.t, func() error {
		runs = started.MatchString(run.output(r.t))
		if !run.over() && !runs {
			return fmt.Errorf("%s: neither exits nor starts a program:\n%s", where, run.output(r.t))
		}
		return nil
	})
	mayFail := excepted(fails, page.path, b) != ""
	r.pasted = append(r.pasted, pasted{run, where, mayFail, runs && !run.over()})
	if run.over() && (run.cmd.ProcessState.ExitCode() != 0) != mayFail {
		r.t.Errorf("%s: %v:\n%s%s", where, run.cmd.ProcessState, b.text, run.output(r.t))
	}
	return true
}

// settle waits until a herd that runs has no problem, and has passed on what was reported: a
// reader is slower than a herd. It does nothing where no server answers herd status, or may not be asked.
func (r *reader) settle() {
	r.t.Helper()
	if len(r.pasted) == 0 {
		return
	}
	eventually(r.t, func() error {
		status := exec.Command(filepath.Join(r.bin, "herd"), "status")
		status.Env = r.env // without statusesOf: its status is no failure
		table, err := status.Output()
		if len(table) == 0 || strings.Contains(string(table), "\n0 of ") {
			return nil
		}
		return err
	})
}

// stopAll stops what still runs, as Ctrl-C in each terminal does. A program that was started
// must run until then.
func (r *reader) stopAll() {
	r.t.Helper()
	for _, p := range slices.Backward(r.pasted) {
		if p.runs && p.over() {
			r.t.Errorf("%s: a program has started, but ended by itself: %v\n%s", p.where, p.cmd.ProcessState, p.output(r.t))
		}
		p.stop(r.t)
		if failed := p.failures(r.t); len(failed) > 0 && !p.mayFail {
			r.t.Errorf("%s: programs have exited with a failure: %q\n%s", p.where, failed, p.output(r.t))
		}
	}
	r.pasted = nil
}
