//go:build unix

package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"herd/bus/bustest"
	"herd/cmd/internal/freeport"
)

// The tests of this file run the blocks of the documentation as a reader would paste them.
//
// The blocks with the language sh of one page run in order, in an empty directory, each as
// in a terminal of its own. A block is over when it exits, with status 0, or when its output
// shows that a program has started (see started). Such programs run until the next heading. If a
// section's text says "`herd up` in another terminal", that herd runs before its first block.
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
}

// volatile is what differs between two runs, and what replaces it. The rules are applied in
// order to what the page shows and to what the programs print.
var volatile = []struct {
	what *regexp.Regexp
	with string
}{
	{regexp.MustCompile(`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)`), "TIME"},
	{regexp.MustCompile(`[+-]\d+\.\d{9}\b`), "DIFFERENCE"},
	{regexp.MustCompile(`\b1[6-9]\d{8}(\.\d+)?\b`), "SECONDS"},
	{regexp.MustCompile(`\b1\d{18}\b`), "EPOCH"},
	{regexp.MustCompile(`\b[0-9a-f]{16}\b`), "DIGEST"},
	{regexp.MustCompile(`\bDIGEST( +)\d+ `), "DIGEST${1}CLIENTS "}, // a connection may count until shortly after it is closed
	{regexp.MustCompile(`\b[\d.,]+ ?(ns|µs|ms|s)\b`), "DURATION"},
	{regexp.MustCompile(`\b\d{1,3}(,\d{3})+\b`), "COUNT"},
	{regexp.MustCompile(`\b\d{3} `), "COUNT "},                            // the same, on a slow machine
	{regexp.MustCompile(`\b127\.0\.0\.1:[3-6]\d{4}\b`), "127.0.0.1:PORT"}, // a client's own port
	{regexp.MustCompile(`(?m)[ \t]+$`), ""},
	{regexp.MustCompile(`[ \t]+`), " "},
}

// started matches the output of a program that keeps running and is ready for what the page
// does next.
var started = regexp.MustCompile(`Try[:,]|ask .*IAMAT|msg=ready|Server is ready|Subscribing on|INFO \{|start started`)

// checkedOnly matches commands that take minutes. Their tests, benchmarks and flags must
// exist.
var checkedOnly = regexp.MustCompile(`^(\w+=\S* )*(go test|go vet|go tool|go run \./cmd/herdbench|go run \./cmd/internal/|\.ci/)`)

// otherPrograms matches the programs that a reader needs besides herd and nats-server.
var otherPrograms = regexp.MustCompile(`(?m)(?:^|[|(;&] *)(nats|nc|curl|man) `)

// givenFiles are the files that the blocks use and that their readers have.
var givenFiles = map[string]func(cert, key []byte) []byte{
	"cert.pem":       func(cert, _ []byte) []byte { return cert },
	"key.pem":        func(_, key []byte) []byte { return key },
	"clients.pem":    func(cert, _ []byte) []byte { return cert },
	"broker.pem":     func(cert, _ []byte) []byte { return cert },
	"broker-key.pem": func(_, key []byte) []byte { return key },
	"ca.pem":         func(cert, _ []byte) []byte { return cert },
	"places.key":     func(_, _ []byte) []byte { return []byte("AIzaSyExample") },
}

// documentedPorts are the ports of the documentation, in ranges that the tests replace by
// free ones.
var documentedPorts = []struct{ first, count int }{
	{12000, 5}, // clients
	{12080, 5}, // operators
	{4222, 3},  // brokers
	{6222, 3},  // routes
	{8222, 3},  // the brokers' monitoring
}

// TestPastedBlocks runs the blocks of every page.
func TestPastedBlocks(t *testing.T) {
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
				newReader(t).read(page)
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

// reader is somebody who pastes the blocks of a page into terminals.
type reader struct {
	t         *testing.T
	dir, bin  string
	env       []string
	real      *strings.Replacer // documented addresses to those of the test
	nominal   *strings.Replacer // and back
	terminals []*terminal       // whose programs may still run
}

func newReader(t *testing.T) *reader {
	t.Helper()
	r := &reader{t: t, dir: t.TempDir(), bin: t.TempDir()}
	var real, nominal []string
	first := map[int]int{}
	for _, ports := range documentedPorts {
		addresses, err := freeport.Addresses(ports.count)
		if err != nil {
			t.Fatal(err)
		}
		for i, address := range addresses {
			_, port, _ := strings.Cut(address, ":")
			if i == 0 {
				first[ports.first], _ = strconv.Atoi(port)
			}
			documented := strconv.Itoa(ports.first + i)
			for _, before := range []string{":", "127.0.0.1 "} { // nc has a space there
				real = append(real, before+documented, before+port)
				nominal = append(nominal, before+port, before+documented)
			}
		}
	}
	r.real, r.nominal = strings.NewReplacer(real...), strings.NewReplacer(nominal...)
	r.writeWrappers(first[12000], first[12080], first[4222], first[6222], first[8222])
	for _, pair := range os.Environ() {
		if !strings.HasPrefix(pair, envPrefix+"_") && !strings.HasPrefix(pair, "NATS_") && !strings.HasPrefix(pair, "PATH=") {
			r.env = append(r.env, pair)
		}
	}
	r.env = append(r.env, "PATH="+r.bin+":"+os.Getenv("PATH"))
	r.writeGivenFiles()
	t.Cleanup(r.stopAll)
	return r
}

func (r *reader) writeGivenFiles() {
	r.t.Helper()
	certFile, keyFile, err := bustest.WriteCertificate(r.t.TempDir())
	if err != nil {
		r.t.Fatal(err)
	}
	cert, certErr := os.ReadFile(certFile)
	key, keyErr := os.ReadFile(keyFile)
	err = errors.Join(certErr, keyErr)
	for name, content := range givenFiles {
		err = errors.Join(err, os.WriteFile(filepath.Join(r.dir, name), content(cert, key), 0o600))
	}
	if err != nil {
		r.t.Fatal(err)
	}
}

// writeWrappers writes the programs that the blocks call. herd and nats-server are this test
// binary, with free ports in place of the defaults.
func (r *reader) writeWrappers(clients, ops, broker, routes, monitor int) {
	r.t.Helper()
	self, err := os.Executable()
	if err != nil {
		r.t.Fatal(err)
	}
	goTool, err := exec.LookPath("go")
	if err != nil {
		r.t.Fatal(err)
	}
	root, err := filepath.Abs(repository)
	if err != nil {
		r.t.Fatal(err)
	}
	r.wrapper("herd", fmt.Sprintf(`
case $1 in
up)
	export HERD_LISTEN=${HERD_LISTEN:-127.0.0.1:%[1]d} HERD_OPS_LISTEN=${HERD_OPS_LISTEN:-127.0.0.1:%[2]d} HERD_NATS_LISTEN=${HERD_NATS_LISTEN:-127.0.0.1:%[3]d}
	;;
serve)
	case $2 in Goloman) i=0 ;; Hands) i=1 ;; Holiday) i=2 ;; Welsh) i=3 ;; Wilkes) i=4 ;; esac
	export HERD_LISTEN=127.0.0.1:$((%[1]d + i)) HERD_OPS_LISTEN=127.0.0.1:$((%[2]d + i)) HERD_NATS_URL=${HERD_NATS_URL:-nats://127.0.0.1:%[3]d}
	;;
bus-config)
	case "$*" in *--listen*) ;; *) set -- "$@" --listen=127.0.0.1:%[3]d ;; esac
	case "$*" in *--cluster*) ;; *) set -- "$@" --cluster=127.0.0.1:%[4]d ;; esac
	set -- "$@" --monitor=127.0.0.1:%[5]d
	;;
healthcheck)
	export HERD_OPS_LISTEN=127.0.0.1:%[2]d
	;;
ask | get | near | load | reload | status)
	export HERD_LISTEN=127.0.0.1:%[1]d HERD_NATS_URL=${HERD_NATS_URL:-nats://127.0.0.1:%[3]d}
	;;
esac
case $* in load) set -- load --duration 1s ;; esac
export %[6]s=1
exec %[7]q "$@"
`, clients, ops, broker, routes, monitor, asProgram, self))
	r.wrapper("nats-server", fmt.Sprintf(`
case "$*" in -c*|--signal*) ;; *) set -- "$@" -p %d ;; esac
export %s=1
exec %q "$@"
`, broker, asBroker, self))
	r.wrapper("go", fmt.Sprintf(`
case "$1 $2" in
"run ./cmd/herd") shift 2; exec herd "$@" ;;
"install ./cmd/herd") export GOBIN=%q ;;
esac
cd %q && exec %q "$@"
`, r.dir+"/gobin", root, goTool))
	nats, err := exec.LookPath("nats")
	if err != nil {
		goPath, _ := exec.Command(goTool, "env", "GOPATH").Output()
		nats = filepath.Join(strings.TrimSpace(string(goPath)), "bin", "nats")
	}
	if _, err := os.Stat(nats); err == nil {
		r.wrapper("nats", fmt.Sprintf(`
export HOME=%q NATS_URL=nats://127.0.0.1:%d
exec %q "$@"
`, r.dir, broker, nats))
	}
}

func (r *reader) wrapper(name, script string) {
	r.t.Helper()
	if err := os.WriteFile(filepath.Join(r.bin, name), []byte("#!/bin/bash"+script), 0o755); err != nil {
		r.t.Fatal(err)
	}
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
			r.t.Logf("skipped: %s: %s is not installed", where, program[1])
			return false
		}
	}
	r.settle()
	r.t.Logf("%s\n%s", where, b.text)
	term := open(r.t, r.dir, r.env, r.real.Replace(b.text))
	r.terminals = append(r.terminals, term)
	eventually(r.t, func() error {
		if !term.over() && !started.MatchString(term.output(r.t)) {
			return fmt.Errorf("%s: neither exits nor starts a program:\n%s", where, term.output(r.t))
		}
		return nil
	})
	if term.over() && (term.cmd.ProcessState.ExitCode() != 0) != (excepted(fails, page.path, b) != "") {
		r.t.Errorf("%s: %v:\n%s%s", where, term.cmd.ProcessState, b.text, term.output(r.t))
	}
	return true
}

// settle waits until a herd that runs has no problem, and has passed on what was reported: a
// reader is slower than a herd. It does nothing where no server answers herd status, or may not be asked.
func (r *reader) settle() {
	r.t.Helper()
	if len(r.terminals) == 0 {
		return
	}
	eventually(r.t, func() error {
		status := exec.Command(filepath.Join(r.bin, "herd"), "status")
		status.Env = r.env
		table, err := status.Output()
		if len(table) == 0 || strings.Contains(string(table), "\n0 of ") {
			return nil
		}
		return err
	})
}

// compare compares a documented output with that of the last block and of the programs that
// still run.
func (r *reader) compare(page markdown, b block) {
	r.t.Helper()
	inAnyOrder := excepted(unordered, page.path, b) != ""
	last := r.terminals[len(r.terminals)-1]
	var candidates []*terminal
	for _, term := range r.terminals {
		if term == last || !term.over() {
			candidates = append(candidates, term)
		}
	}
	var outputs []string
	same := func() bool {
		outputs = nil
		for _, term := range candidates {
			out := normalize(r.nominal.Replace(term.output(r.t)))
			outputs = append(outputs, out[max(0, len(out)-4096):])
			if inAnyOrder && hasLines(out, normalize(b.text)) || !inAnyOrder && expression(normalize(b.text), !term.over()).MatchString(out) {
				return true
			}
		}
		return false
	}
	for deadline := time.Now().Add(patience / 3); !same(); time.Sleep(20 * time.Millisecond) { // programs that run may still print
		if len(candidates) == 1 && last.over() || time.Now().After(deadline) {
			r.t.Errorf("%s:%d: the page has\n%s\nthe programs print\n%s", page.path, b.line, normalize(b.text), strings.Join(outputs, "--\n"))
			return
		}
	}
}

func normalize(text string) string {
	for _, v := range volatile {
		text = v.what.ReplaceAllString(text, v.with)
	}
	return strings.Trim(text, "\n") + "\n"
}

// hasLines reports whether each documented line is a line of output of its own, in any order.
func hasLines(output, documented string) bool {
	lines := slices.Collect(strings.Lines(output))
	for want := range strings.Lines(documented) {
		re := expression(want, false)
		i := slices.IndexFunc(lines, re.MatchString)
		if i < 0 {
			return false
		}
		lines = slices.Delete(lines, i, i+1)
	}
	return true
}

// expression matches output as documented: all of it, or a part of it.
func expression(documented string, part bool) *regexp.Regexp {
	var e strings.Builder
	for line := range strings.Lines(documented) {
		if line == "…\n" {
			e.WriteString(`(?:.*\n)*`)
			continue
		}
		e.WriteString(strings.ReplaceAll(regexp.QuoteMeta(line), "…", ".*"))
	}
	if part {
		return regexp.MustCompile(`(?m)^` + e.String())
	}
	return regexp.MustCompile(`^` + e.String() + `$`)
}

var (
	goTestName = regexp.MustCompile(`func ((?:Test|Benchmark|Fuzz)\w+)\(`)
	goTestRun  = regexp.MustCompile(`-(?:run|bench) (?:'\^\$'|'?([^' \n]+))`) // '^$' matches no test, on purpose
	goTestFlag = regexp.MustCompile(` -args -{1,2}([a-z-]+)`)
)

// check checks that a command that takes minutes has what it needs.
func (r *reader) check(where, command string) {
	r.t.Helper()
	words := strings.Fields(command)
	for strings.Contains(words[0], "=") {
		words = words[1:]
	}
	if words[0] != "go" {
		if _, err := os.Stat(filepath.Join(repository, words[0])); err != nil {
			r.t.Errorf("%s: %v", where, err)
		}
		return
	}
	switch words[1] {
	case "vet", "tool": // .ci/run runs them
		return
	case "run":
		if strings.HasPrefix(words[2], "./cmd/herdbench") {
			list := exec.Command("bash", "-e", "-c", strings.Replace(command, "herdbench", "herdbench --list", 1)) // fails if a flag is unknown
			list.Dir, list.Env = r.dir, r.env
			if out, err := list.CombinedOutput(); err != nil {
				r.t.Errorf("%s: %s: %v\n%s", where, command, err, out)
			}
		} else if _, err := os.Stat(filepath.Join(repository, words[2])); err != nil {
			r.t.Errorf("%s: %v", where, err)
		}
		return
	}
	var tests strings.Builder // the tests of the packages
	for _, pattern := range words[2:] {
		dir, recursive := strings.CutSuffix(pattern, "/...")
		if !strings.HasPrefix(pattern, "./") {
			continue
		}
		for _, file := range repositoryFiles(r.t) {
			in := path.Dir(file) == path.Clean(dir) || recursive && (path.Clean(dir) == "." || strings.HasPrefix(file, path.Clean(dir)+"/"))
			if in && strings.HasSuffix(file, "_test.go") {
				tests.WriteString(readFile(r.t, file))
			}
		}
	}
	names := goTestName.FindAllStringSubmatch(tests.String(), -1)
	for _, run := range goTestRun.FindAllStringSubmatch(command, -1) {
		re := regexp.MustCompile(run[1])
		if !slices.ContainsFunc(names, func(name []string) bool { return re.MatchString(name[1]) }) {
			r.t.Errorf("%s: %s: no test matches %s", where, command, run[1])
		}
	}
	for _, flag := range goTestFlag.FindAllStringSubmatch(command, -1) {
		if !strings.Contains(tests.String(), `("`+flag[1]+`"`) {
			r.t.Errorf("%s: %s: the tests have no flag %s", where, command, flag[1])
		}
	}
	if tests.Len() == 0 {
		r.t.Errorf("%s: %s: there are no tests", where, command)
	}
}

// stopAll stops what still runs, as Ctrl-C in each terminal would.
func (r *reader) stopAll() {
	for _, term := range slices.Backward(r.terminals) {
		term.stop(r.t)
	}
	r.terminals = nil
}

// terminal is a shell that runs one block, and the programs that it has started.
type terminal struct {
	cmd   *exec.Cmd
	out   string // file with what they print
	ended chan struct{}
}

func open(t *testing.T, dir string, env []string, script string) *terminal {
	t.Helper()
	out, err := os.CreateTemp(t.TempDir(), "output")
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	term := &terminal{cmd: exec.Command("bash", "-e", "-o", "pipefail", "-c", script), out: out.Name(), ended: make(chan struct{})}
	term.cmd.Dir, term.cmd.Env, term.cmd.Stdout, term.cmd.Stderr = dir, env, out, out
	term.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := term.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(term.ended)
		term.cmd.Wait() // its outcome is in ProcessState
	}()
	return term
}

// over reports whether the shell has exited. Programs that it left in the background may
// still run.
func (term *terminal) over() bool {
	select {
	case <-term.ended:
		return true
	default:
		return false
	}
}

func (term *terminal) output(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(term.out)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// stop ends the shell and all that it has started, and waits until they have exited.
func (term *terminal) stop(t *testing.T) {
	group := -term.cmd.Process.Pid
	gone := func() bool { return errors.Is(syscall.Kill(group, 0), syscall.ESRCH) }
	if syscall.Kill(group, syscall.SIGTERM) == nil {
		for deadline := time.Now().Add(patience / 2); !gone(); time.Sleep(5 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Errorf("a program of this block does not exit after SIGTERM: %s", strings.Join(term.cmd.Args, " "))
				syscall.Kill(group, syscall.SIGKILL)
				break
			}
		}
	}
	<-term.ended
}
