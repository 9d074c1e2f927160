package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"herd/cmd/internal/freeport"
)

// documentedPorts are the ports of the documentation, in ranges that the tests replace by
// free ones.
var documentedPorts = []struct{ first, count int }{
	{12000, 5}, // clients
	{12080, 5}, // operators
	{12090, 1}, // the page of herd watch
	{4222, 3},  // brokers
	{6222, 3},  // routes
	{8222, 3},  // the brokers' monitoring
}

// reader is somebody who pastes the blocks of a page into terminals.
type reader struct {
	t        *testing.T
	dir, bin string
	env      []string
	real     *strings.Replacer // documented addresses to those of the test
	nominal  *strings.Replacer // and back
	pasted   []pasted          // blocks of this section
	skipped  []string          // blocks that could not be run, and why
}

// pasted is a block that was pasted.
type pasted struct {
	*shellBlock
	where   string
	mayFail bool
	runs    bool // whether it has started a program that goes on
}

// statusesOf is an environment variable: the file to which herd and nats-server append their
// exit status and arguments. Jobs in the background have no other witness.
const statusesOf = "TEST_STATUSES"

// runProgram is the end of a wrapper: it runs the program $1, and notes its exit status. A
// signal that stops the program lets the wrapper wait for it.
const runProgram = `
program=$1
shift
trap : INT TERM
"$program" "$@"
status=$?
echo "$status ${0##*/} $*" >>"${` + statusesOf + `:-/dev/null}"
exit $status
`

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
	r.writeWrappers(first[12000], first[12080], first[4222], first[6222], first[8222], first[12090])
	for _, pair := range os.Environ() {
		if !strings.HasPrefix(pair, envPrefix+"_") && !strings.HasPrefix(pair, "NATS_") && !strings.HasPrefix(pair, "PATH=") {
			r.env = append(r.env, pair)
		}
	}
	r.env = append(r.env, "PATH="+r.bin+":"+os.Getenv("PATH"))
	return r
}

// writeWrappers writes the programs that the blocks call. herd and nats-server are this test
// binary, with free ports in place of the defaults.
func (r *reader) writeWrappers(clients, ops, broker, routes, monitor, page int) {
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
watch)
	export HERD_NATS_URL=${HERD_NATS_URL:-nats://127.0.0.1:%[3]d} HERD_WATCH_LISTEN=127.0.0.1:%[8]d
	;;
healthcheck)
	export HERD_OPS_LISTEN=127.0.0.1:%[2]d
	;;
ask | dump | follow | forget | get | load | near | reload | restore | status)
	export HERD_LISTEN=127.0.0.1:%[1]d HERD_NATS_URL=${HERD_NATS_URL:-nats://127.0.0.1:%[3]d}
	;;
esac
case $* in load) set -- load --duration 1s ;; esac
export %[6]s=1
set -- %[7]q "$@"
`+runProgram, clients, ops, broker, routes, monitor, asProgram, self, page))
	r.wrapper("nats-server", fmt.Sprintf(`
case "$*" in -c*|--signal*) ;; *) set -- "$@" -p %d ;; esac
export %s=1
set -- %q "$@"
`+runProgram, broker, asBroker, self))
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
