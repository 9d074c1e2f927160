package main

import (
	"encoding/json"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"

	"herd/bus/bustest"
)

// TestLoad: a load on a herd finds every reply correct and no record lost, and its
// records are at every server.
func TestLoad(t *testing.T) {
	t.Parallel()
	h := startUp(t, "goloman")
	for _, flags := range [][]string{
		{"--pipeline", "64"},
		{"--first", "--pipeline", "1", "--connections", "1"},
		{"--whatsat", "20", "--rate", "20000"},
	} {
		args := append([]string{"load", "--json", "--count", "2000", "--clients", "100"}, flags...)
		l := start(t, nil, append(args, h.addresses...)...)
		if got := l.status(); got != exitOK {
			t.Fatalf("%v: exit status %d", flags, got)
		}
		var report struct {
			OK                bool
			Commands, Replies int
			Replicated        float64 `json:"replicated_per_second"`
			Check             struct{ Records, Servers, Lost, Differing int }
		}
		if err := json.Unmarshal([]byte(l.stdout.String()), &report); err != nil {
			t.Fatal(err)
		}
		if !report.OK || report.Commands != 2000 || report.Replies != 2000 || report.Replicated <= 0 {
			t.Errorf("%v: %+v", flags, report)
		}
		if c := report.Check; c.Records != 100 || c.Servers != 5 || c.Lost+c.Differing != 0 {
			t.Errorf("%v: check %+v", flags, c)
		}
		if l.stderr.String() != "" {
			t.Errorf("%v: progress on standard error, which is not a terminal: %q", flags, l.stderr.String())
		}
	}
	for _, address := range h.addresses {
		if got := dial(t, address).lookup("load.99"); !strings.HasPrefix(got, "AT ") {
			t.Errorf("%s has %q of load.99", address, got)
		}
	}
}

// TestLoadInterrupted: Ctrl-C ends a load with the figures so far.
func TestLoadInterrupted(t *testing.T) {
	t.Parallel()
	h := startUp(t, "A")
	l := start(t, nil, "load", "--rate", "1000", "--duration", "1h", h.addresses[0])
	c := dial(t, h.addresses[0])
	for c.lookup("load.0009") == "? WHATSAT load.0009 0 0" { // until the load has begun
	}
	l.signal(os.Interrupt)
	if got := l.status(); got != exitOK || !strings.Contains(l.stdout.String(), "interrupted: the figures so far\nreplies ") {
		t.Errorf("exit status %d\n%s", got, l.stdout.String())
	}
}

// TestLoadServerKilled: the loss of a server is an error, and the figures are printed all
// the same.
func TestLoadServerKilled(t *testing.T) {
	t.Parallel()
	h := startUp(t, "A")
	l := start(t, nil, "load", "--rate", "1000", "--duration", "1h", h.addresses[0])
	c := dial(t, h.addresses[0])
	for c.lookup("load.0009") == "? WHATSAT load.0009 0 0" {
	}
	h.signal(syscall.SIGKILL)
	if got := l.status(); got != exitFailure || !strings.Contains(l.stdout.String(), "replies ") || !strings.Contains(l.stderr.String(), "failed connections: ") {
		t.Errorf("exit status %d\n%s%s", got, l.stdout.String(), l.stderr.String())
	}
}

// TestLoadRefused: what makes no sense is refused in the words of the command line.
func TestLoadRefused(t *testing.T) {
	t.Parallel()
	free := freeAddress(t)
	for want, args := range map[string][]string{
		"--whatsat: 150 is not a percentage from 0 to 100":   {"--whatsat=150"},
		"--whatsat: -1 is not a percentage":                  {"--whatsat=-1"},
		"--whatsat: NaN is not a percentage":                 {"--whatsat=NaN"},
		"--rate: -1 is not between 0 and":                    {"--rate=-1"},
		"--count: 0 is not between 1 and":                    {"--count=0"},
		"--connections: 0 is not between 1 and":              {"--connections=0"},
		"--pipeline: 0 is not between 1 and":                 {"--pipeline=0"},
		"--clients: 1 is too few for 8 connections":          {"--clients=1"},
		"--duration: 0s is not between 1ms and":              {"--duration=0s"},
		"--patience: 0s is not between 1ms and":              {"--patience=0s"},
		"--settle: -1s is not between 0s and":                {"--settle=-1s"},
		"--check: -1 is not between 0 and":                   {"--check=-1"},
		`--name: "a b" is not 1 to 64`:                       {"--name=a b"},
		`--duration: "10" is not a duration such as 30s`:     {"--duration=10"},
		`load: "Golman" is not a server of topology`:         {"Golman"},
		"(did you mean Goloman?)":                            {"golman"},
		`load: "127.0.0.1:x" is not an address`:              {"127.0.0.1:x"},
		"(no server listens there: is it running?)":          {free},
		"HERD_LISTN is not a known variable":                 {"misspelt", free},
		"(no server listens there: start the herd with":      {},
		"--plot: open /proc/x.svg: no such file or director": {"--plot=/proc/x.svg"},
	} {
		env := []string{"HERD_LISTEN=" + freeAddresses(t, 5)}
		status := exitUsage
		switch {
		case len(args) == 2:
			env, args = append(env, "HERD_LISTN=1"), args[1:]
		case strings.Contains(want, "no server listens"):
			status = exitFailure
		case strings.Contains(want, "/proc/"):
			h := startUp(t, "A")
			args, status = append(args, "--count=1", "--clients=8", h.addresses[0]), exitFailure
		}
		exit, out := outcome(t, env, append([]string{"load"}, args...)...)
		if exit != status || !strings.Contains(out, want) {
			t.Errorf("herd load %q: exit status %d, %s, want %q", args, exit, out, want)
		}
	}
}

// TestLoadOnTLS: a load on servers with TLS needs a flag, says so without it, and loses
// nothing with it. Servers can be named as those of the topology.
func TestLoadOnTLS(t *testing.T) {
	t.Parallel()
	cert, key, err := bustest.WriteCertificate(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	encrypted := startUp(t, "A", "HERD_TLS_CERT="+cert, "HERD_TLS_KEY="+key)
	plain := startUp(t, "A")
	for _, c := range []struct {
		h      upHerd
		flags  []string
		status int
		want   string
	}{
		{encrypted, nil, exitFailure, "if they use TLS, add --tls or --ca FILE"},
		{encrypted, []string{"--tls"}, exitFailure, "give the CA's certificate, or the server's own, with --ca"},
		{encrypted, []string{"--ca=" + cert}, exitOK, "records     all 8 checked at 1 server: 0 lost"},
		{plain, nil, exitOK, "records     all 8 checked at 1 server: 0 lost"},
		{plain, []string{"--ca=" + cert}, exitFailure, "the server does not use TLS: leave out --tls"},
	} {
		args := append([]string{"load", "--count=8", "--clients=8", "A"}, c.flags...)
		exit, out := outcome(t, []string{"HERD_TOPOLOGY=A", "HERD_LISTEN=" + c.h.addresses[0]}, args...)
		if exit != c.status || !strings.Contains(out, c.want) || exit != exitOK && strings.Contains(out, "records ") {
			t.Errorf("herd %q: exit status %d, %s, want %q", args, exit, out, c.want)
		}
	}
	encrypted.stop()
	plain.stop()
}

// TestLoadPlotAndFault: a plot that cannot be written does not hide that the load has failed.
func TestLoadPlotAndFault(t *testing.T) {
	t.Parallel()
	ln, err := net.Listen("tcp", "127.0.0.1:0") // closes every connection
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	go func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			conn.Close()
		}
	}()
	exit, out := outcome(t, nil, "load", "--settle=0", "--count=8", "--clients=8", "--plot=/proc/x.svg", ln.Addr().String())
	if exit != exitFailure || !strings.Contains(out, "failed connections: 8") || !strings.Contains(out, "--plot: open /proc/x.svg") {
		t.Errorf("exit status %d, %s", exit, out)
	}
}
