package main

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"herd/bus/bustest"
)

// ask runs `herd ask` with input, and returns its exit status and both outputs.
func ask(t *testing.T, env []string, input string, args ...string) (status int, stdout, stderr string) {
	t.Helper()
	cmd := command(t, asProgram, env, append([]string{"ask"}, args...)...)
	cmd.Stdin = strings.NewReader(input)
	p := startCommand(t, cmd)
	status = p.status()
	return status, p.stdout.String(), p.stderr.String()
}

// TestAsk: lines are sent as they are, and all replies are printed, in order and byte for
// byte.
func TestAsk(t *testing.T) {
	t.Parallel()
	listen := freeAddresses(t, 2)
	h := startUp(t, "A-B", "HERD_LISTEN="+listen)
	env := []string{"HERD_TOPOLOGY=A-B", "HERD_LISTEN=" + listen}
	const record = `AT A \S+ kiwi \+34\.07-118\.45 5\n`
	const places = `\{\n(.+\n)*\}\n\n`
	for _, tt := range []struct {
		input string
		args  []string
		want  string // a regular expression
	}{
		{args: []string{"IAMAT kiwi +34.07-118.45 5"}, want: record},
		{args: []string{"WHATSAT kiwi 10 2", "hello", "", "WHATSAT kiwi 0 0", "WHATSAT kiwi x"},
			want: record + places + `\? hello\n\? \n` + record + places + `\? WHATSAT kiwi x\n`},
		{args: []string{"A", "\tWHATSAT  kiwi 0 0 \r"}, want: record + places},
		{args: []string{"B", "AT B", "IAMATE x"}, want: `\? AT B\n\? IAMATE x\n`},
		{args: []string{h.addresses[1], "IAMAT emu +1+1 5"}, want: `AT B \S+ emu \+1\+1 5\n`},
		{args: []string{"A", "x \xff"}, want: "\\? x \xff\n"},
		{args: []string{"two\nlines"}, want: `\? two\n\? lines\n`},
		{input: "", want: ``},
		{input: "\n\n", want: `\? \n\? \n`},
		{input: "x\x00\x1b[2J\u202e\xff\r\nWHATSAT kiwi 0 0", want: `\? x` + "\x00\x1b\\[2J\u202e\xff\r\n" + record + places},
		{input: "B\n", args: []string{"B"}, want: `\? B\n`},
		{input: strings.Repeat("x", 200_000) + "\nend\n", want: `\? ` + strings.Repeat("x", 8192) + `\n\? end\n`},
	} {
		status, stdout, stderr := ask(t, env, tt.input, tt.args...)
		if status != exitOK || stderr != "" || !regexp.MustCompile(`^(?:`+latin1(tt.want)+`)$`).MatchString(latin1(stdout)) {
			t.Errorf("herd ask %q with input %.50q: exit status %d, %.1000q, %q", tt.args, tt.input, status, stdout, stderr)
		}
	}

	var input, want strings.Builder
	const lines = 20_000 // more than what may be under way
	for i := range lines {
		fmt.Fprintf(&input, "line %d\nWHATSAT kiwi 0 0\n", i)
		fmt.Fprintf(&want, "? line %d\n", i)
	}
	status, stdout, stderr := ask(t, env, input.String())
	var got strings.Builder
	records := 0
	for line := range strings.Lines(stdout) {
		switch {
		case strings.HasPrefix(line, "? "):
			got.WriteString(line)
		case strings.HasPrefix(line, "AT A "):
			records++
		}
	}
	if status != exitOK || got.String() != want.String() || records != lines {
		t.Errorf("%d lines: exit status %d, %d invalid ones and %d records came back, %s", 2*lines, status, strings.Count(got.String(), "\n"), records, stderr)
	}
	h.stop()
}

// latin1 makes a character of each byte, so that a regular expression can match all bytes.
func latin1(s string) string {
	var r []rune
	for _, b := range []byte(s) {
		r = append(r, rune(b))
	}
	return string(r)
}

// TestAskLive: a reply is printed while the input is still open, and Ctrl-C at rest is no
// failure.
func TestAskLive(t *testing.T) {
	t.Parallel()
	h := startUp(t, "A")
	cmd := command(t, asProgram, nil, "ask", h.addresses[0])
	input, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	p := startCommand(t, cmd)
	for i := range 3 {
		fmt.Fprintf(input, "hello %d\n", i)
		p.stdout.await(t, fmt.Sprintf(`\? hello %d\n$`, i))
	}
	p.signal(os.Interrupt)
	if got := p.status(); got != exitOK || p.stderr.String() != "" {
		t.Errorf("exit status %d after Ctrl-C, %s", got, p.stderr.String())
	}
}

// TestAskTLS: with TLS, also with a client certificate, and what is said where the two sides
// differ.
func TestAskTLS(t *testing.T) {
	t.Parallel()
	cert, key, err := bustest.WriteCertificate(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	encrypted := startUp(t, "A", "HERD_TLS_CERT="+cert, "HERD_TLS_KEY="+key, "HERD_TLS_CLIENT_CA="+cert)
	plain := startUp(t, "A")
	if strings.Contains(encrypted.stdout.String(), "Try:") {
		t.Error("a line to try where a client needs a certificate")
	}
	for _, tt := range []struct {
		args   []string
		status int
		want   string // in the output
	}{
		{[]string{"--ca", cert, "--cert", cert, "--key", key, encrypted.addresses[0], "hel lo", "again"}, exitOK, "? hel lo\n? again\n"},
		{[]string{"--tls", encrypted.addresses[0], "hello"}, exitFailure, "give the CA's certificate, or the server's own, with --ca"},
		{[]string{encrypted.addresses[0], "hello"}, exitFailure, "if it uses TLS, add --tls or --ca FILE"},
		{[]string{"--tls", plain.addresses[0], "hello"}, exitFailure, "the server does not use TLS: leave out --tls"},
		{[]string{"--cert", cert, plain.addresses[0], "hello"}, exitUsage, "--cert and --key must be set together"},
		{[]string{"--ca", key, plain.addresses[0], "hello"}, exitUsage, "contains no PEM certificate"},
	} {
		status, stdout, stderr := ask(t, nil, "", tt.args...)
		if status != tt.status || !strings.Contains(stdout+stderr, tt.want) {
			t.Errorf("herd ask %q: exit status %d, want %d; %q, %q, want %q", tt.args, status, tt.status, stdout, stderr, tt.want)
		}
	}

	// The line to try works with the server's own certificate.
	trusting := startUp(t, "A", "HERD_TLS_CERT="+cert, "HERD_TLS_KEY="+key)
	trusting.stdout.await(t, ` ask --ca `+regexp.QuoteMeta(cert)+` 127\.0\.0\.1:\d+ "IAMAT `)
	if status, stdout, stderr := ask(t, nil, "", "--ca", cert, trusting.addresses[0], "hello"); status != exitOK || stdout != "? hello\n" {
		t.Errorf("exit status %d, %q, %s", status, stdout, stderr)
	}
}

// TestAskIncomplete: a server that does not answer everything is a failure, after what it
// did answer.
func TestAskIncomplete(t *testing.T) {
	t.Parallel()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	script := make(chan func(net.Conn, *bufio.Reader), 1)
	go func() {
		for conn, err := ln.Accept(); err == nil; conn, err = ln.Accept() {
			(<-script)(conn, bufio.NewReader(conn))
			conn.Close()
		}
	}()
	for name, tt := range map[string]struct {
		serve        func(net.Conn, *bufio.Reader)
		stdout, want string
	}{
		"closed": {func(c net.Conn, r *bufio.Reader) {
			r.ReadString('\n')
			io.WriteString(c, "? a b\n")
			io.Copy(io.Discard, r) // otherwise the reply may be lost by a reset
		}, "? a b\n", "the server closed the connection: 1 of 2 lines has no complete reply"},
		"within the places": {func(c net.Conn, r *bufio.Reader) {
			r.ReadString('\n')
			io.WriteString(c, "? a b\nAT x\n{\n}\n")
			io.Copy(io.Discard, r)
		}, "? a b\nAT x\n{\n}\n", "1 of 2 lines has no complete reply"},
	} {
		script <- tt.serve
		status, stdout, stderr := ask(t, nil, "", ln.Addr().String(), "a b", "WHATSAT kiwi 1 1")
		if status != exitFailure || stdout != tt.stdout || !strings.Contains(stderr, tt.want) {
			t.Errorf("%s: exit status %d, %q, %q, want 1, %q, %q", name, status, stdout, stderr, tt.stdout, tt.want)
		}
	}
	done := make(chan struct{})
	script <- func(c net.Conn, r *bufio.Reader) {
		io.WriteString(c, "? a b\n")
		<-done
	}
	status, stdout, stderr := ask(t, nil, "", "--timeout", "300ms", ln.Addr().String(), "a b", "WHATSAT kiwi 1 1")
	close(done)
	if status != exitFailure || stdout != "? a b\n" || !strings.Contains(stderr, "no reply within 300ms: 1 of 2 lines has no complete reply") {
		t.Errorf("silent: exit status %d, %q, %q", status, stdout, stderr)
	}
}

// TestAskWhere: which server is asked, and what is said if that cannot be known.
func TestAskWhere(t *testing.T) {
	t.Parallel()
	free := freeAddress(t)
	_, port, _ := net.SplitHostPort(free)
	for _, tt := range []struct {
		env    []string
		args   []string
		status int
		want   string
	}{
		{[]string{"HERD_LISTEN=" + free}, []string{"a b"}, exitFailure, "no server listens at " + free + ": start the herd with herd up"},
		{[]string{"HERD_LISTEN=0.0.0.0:" + port}, []string{"a b"}, exitFailure, "no server listens at " + free},
		{[]string{"HERD_LISTEN=" + free, "HERD_NAME=Welsh"}, []string{"a b"}, exitFailure, "no server listens at " + free},
		{nil, []string{free, "a b"}, exitFailure, "no server listens at " + free + ": is it running?"},
		{[]string{"HERD_LISTEN=127.0.0.1:0"}, []string{"a b"}, exitUsage, "port 0 says nothing about the port of Goloman: give the address"},
		{[]string{"HERD_NAME=Nobody"}, []string{"a b"}, exitUsage, `HERD_NAME: "Nobody" is not a server of topology goloman`},
		{nil, []string{"Nobody", "a b"}, exitUsage, `"Nobody" is not a server of topology goloman, which has Goloman,`},
		{nil, []string{"WHATSAT", "kiwi", "10", "2"}, exitUsage, "put it in quotes, as in 'WHATSAT kiwi 10 2'"},
		{nil, []string{"Welsh", "IAMAT", "kiwi"}, exitUsage, "put it in quotes"},
		{nil, []string{"--timeout", "0s", "a b"}, exitUsage, "--timeout: 0s is not more than 0"},
		{nil, []string{"hello"}, exitUsage, "a line of one word needs a server before it: herd ask Goloman hello\n"},
		{nil, []string{"it's"}, exitUsage, `herd ask Goloman 'it'\''s'` + "\n"},
		{nil, []string{"welsh", "a b"}, exitUsage, "(did you mean Welsh?)\nask: give a server, or its address"},
		{[]string{"HERD_LISTN=1"}, []string{free, "a b"}, exitUsage, "HERD_LISTN is not a known variable"},
		{[]string{"HERD_LISTEN=" + free}, []string{"--", "Goloman", "-x"}, exitFailure, "no server listens at " + free},
		{nil, []string{"127.0.0.1:x", "a b"}, exitUsage, `"127.0.0.1:x" is not an address`},
		{nil, []string{"--ca", filepath.Join(t.TempDir(), "none"), "a b"}, exitUsage, "no such file"},
	} {
		status, stdout, stderr := ask(t, tt.env, "", tt.args...)
		if status != tt.status || stdout != "" || !strings.Contains(stderr, tt.want) {
			t.Errorf("%v herd ask %q: exit status %d, want %d; %q, %q, want %q", tt.env, tt.args, status, tt.status, stdout, stderr, tt.want)
		}
	}
}
