package main

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"herd/bus/bustest"
)

// What an operator uses: health checks, status, logs, exit statuses, signals, TLS.

// TestOps: /healthz, /readyz, profiles on loopback, and the command healthcheck.
func TestOps(t *testing.T) {
	t.Parallel()
	h := startUp(t, "goloman")
	get := func(path string) (int, string) {
		t.Helper()
		reply, err := http.Get(h.ops + path)
		if err != nil {
			t.Fatal(err)
		}
		defer reply.Body.Close()
		body, err := bufio.NewReader(reply.Body).ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		return reply.StatusCode, body
	}
	eventually(t, func() error {
		if code, body := get("/readyz"); code != http.StatusOK {
			return fmt.Errorf("/readyz: %d %s", code, body)
		}
		return nil
	})
	for path, want := range map[string]string{"/healthz": "ok\n", "/readyz": "ready\n"} {
		if code, body := get(path); code != http.StatusOK || body != want {
			t.Errorf("%s: %d %q, want 200 %q", path, code, body, want)
		}
	}
	if code, _ := get("/debug/pprof/"); code != http.StatusOK {
		t.Errorf("/debug/pprof/: %d, want 200 on loopback", code)
	}
	address := strings.TrimPrefix(h.ops, "http://")
	if got := start(t, []string{"HERD_OPS_LISTEN=" + address}, "healthcheck").status(); got != exitOK {
		t.Errorf("healthcheck of a ready herd: exit status %d, want 0", got)
	}
	h.stop()
	if got := start(t, []string{"HERD_OPS_LISTEN=" + address}, "healthcheck").status(); got != exitFailure {
		t.Errorf("healthcheck of a stopped herd: exit status %d, want 1", got)
	}
}

// TestStatus: text and JSON of a herd that is in step, and the exit status if a server is
// missing or NATS is not running.
func TestStatus(t *testing.T) {
	t.Parallel()
	h := startUp(t, "goloman")
	record := dial(t, h.addresses[0]).ask("IAMAT kiwi +1+1 1")
	awaitAgreement(t, "kiwi", record, h.addresses...)
	env := []string{"HERD_NATS_URL=" + h.nats}
	ask := func(want int, args ...string) string {
		t.Helper()
		p := start(t, env, append([]string{"status"}, args...)...)
		if got := p.status(); got != want {
			t.Errorf("status %v: exit status %d, want %d: %s", args, got, want, p.stderr.String())
		}
		return p.stdout.String()
	}
	text := ask(exitOK, "--wait", "10s")
	for _, want := range []string{
		`(?m)^SERVER +READY +RECORDS +DIGEST +CLIENTS +NEIGHBOURS$`,
		`(?m)^Goloman +yes +1 +[0-9a-f]{16} +1 +Hands, Holiday, Wilkes \(in step\)$`,
		`(?m)^5 of 5 servers, all edges in step, all maps equal$`,
	} {
		if !regexp.MustCompile(want).MatchString(text) {
			t.Errorf("status has no %s:\n%s", want, text)
		}
	}
	var answer struct {
		Servers []struct {
			Server  string
			Records int
			Ready   bool
		}
		Missing []string
	}
	if err := json.Unmarshal([]byte(ask(exitOK, "--json")), &answer); err != nil {
		t.Fatal(err)
	}
	if len(answer.Servers) != 5 || answer.Servers[3].Server != "Welsh" || answer.Servers[3].Records != 1 || !answer.Servers[3].Ready || len(answer.Missing) > 0 {
		t.Errorf("status --json: %+v", answer)
	}

	env = append(env, "HERD_TOPOLOGY=Goloman-Hands,Hands-Nobody")
	if text := ask(exitFailure); !strings.Contains(text, "5 of 6 servers, NOT all edges in step") {
		t.Errorf("status with a server missing:\n%s", text)
	}
	h.stop()
	if text := ask(exitFailure, "--wait", "300ms"); text != "" {
		t.Errorf("status without a bus:\n%s", text)
	}
}

// TestOpsOnAllInterfaces: profiles are served on loopback addresses only. healthcheck
// works with an unspecified address.
func TestOpsOnAllInterfaces(t *testing.T) {
	t.Parallel()
	h := startUp(t, "Solo", "HERD_OPS_LISTEN=0.0.0.0:0")
	_, port, err := net.SplitHostPort(strings.TrimPrefix(h.ops, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]int{"/healthz": http.StatusOK, "/debug/pprof/": http.StatusNotFound} {
		reply, err := http.Get("http://127.0.0.1:" + port + path)
		if err != nil {
			t.Fatal(err)
		}
		reply.Body.Close()
		if reply.StatusCode != want {
			t.Errorf("%s at 0.0.0.0: %d, want %d", path, reply.StatusCode, want)
		}
	}
	eventually(t, func() error {
		if got := start(t, []string{"HERD_OPS_LISTEN=0.0.0.0:" + port}, "healthcheck").status(); got != exitOK {
			return fmt.Errorf("healthcheck: exit status %d, want 0", got)
		}
		return nil
	})
	h.stop()
}

// TestNotReady: without NATS a server serves clients, and /readyz says that it is not
// ready.
func TestNotReady(t *testing.T) {
	t.Parallel()
	p := start(t, append([]string{"HERD_NATS_URL=nats://127.0.0.1:1"}, anyPorts...), "serve", "Welsh")
	p.stderr.await(t, `msg="not ready" .*reason="NATS is disconnected`)
	if contains(p.stderr.String(), "msg=ready") == nil {
		t.Error("the log says ready without NATS")
	}
	p.stop()

	up := startUp(t, "A-B", "HERD_NATS_URL=nats://127.0.0.1:1")
	reply, err := http.Get(up.ops + "/readyz")
	if err != nil {
		t.Fatal(err)
	}
	defer reply.Body.Close()
	if reply.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("/readyz without NATS: %d, want 503", reply.StatusCode)
	}
	if c := dial(t, up.addresses[1]); !strings.HasPrefix(c.ask("IAMAT kiwi +1+1 1"), "AT B ") {
		t.Error("no reply to IAMAT without NATS")
	}
	up.stop()
}

// TestExitStatus: 0 on success, 1 on failure, 2 for an invalid command line or
// environment.
func TestExitStatus(t *testing.T) {
	t.Parallel()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	tests := []struct {
		args, env string
		want      int
	}{
		{"version", "HERD_LOG_LEVEL=info", exitOK},
		{"--help", "HERD_LOG_LEVEL=info", exitOK},
		{"up", "HERD_TOPOLOGY=A-A", exitUsage},
		{"up", "HERD_SURPRISE=1", exitUsage},
		{"env", "HERD_SURPRISE=1", exitUsage},
		{"serve Nobody", "HERD_LOG_LEVEL=info", exitUsage},
		{"serve", "HERD_LOG_LEVEL=info", exitUsage},
		{"dance", "HERD_LOG_LEVEL=info", exitUsage},
		{"up", "HERD_LISTEN=" + taken.Addr().String(), exitFailure},
		{"serve Goloman", "HERD_LISTEN=" + taken.Addr().String(), exitFailure},
		{"healthcheck", "HERD_OPS_LISTEN=off", exitFailure},
	}
	for _, tt := range tests {
		if got := start(t, []string{tt.env}, strings.Fields(tt.args)...).status(); got != tt.want {
			t.Errorf("%s herd %s: exit status %d, want %d", tt.env, tt.args, got, tt.want)
		}
	}
}

// TestSecondSignal: a second signal kills a process that is stopping.
func TestSecondSignal(t *testing.T) {
	t.Parallel()
	h := startUp(t, "Solo")
	// A client that reads no reply delays the stop.
	c := dial(t, h.addresses[0])
	c.conn.SetReadBuffer(1)
	for err := error(nil); !errors.Is(err, os.ErrDeadlineExceeded); { // until the server cannot write, and so does not read
		c.conn.SetWriteDeadline(time.Now().Add(time.Second / 4))
		if _, err = c.conn.Write([]byte(strings.Repeat("\n", 1<<16))); err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatal(err)
		}
	}
	eventually(t, func() error {
		h.cmd.Process.Signal(syscall.SIGTERM) // fails when it has exited
		select {
		case <-h.ended:
			return nil
		default:
			return fmt.Errorf("still running")
		}
	})
	if ws := h.cmd.ProcessState.Sys().(syscall.WaitStatus); !ws.Signaled() || ws.Signal() != syscall.SIGTERM {
		t.Errorf("ended by %v, want the second SIGTERM", h.cmd.ProcessState)
	}
}

// TestTrafficLog: all input and output is logged at once, and appended after a restart.
func TestTrafficLog(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "logs")
	var kept string
	for range 2 {
		h := startUp(t, "A-B", "HERD_LOG_DIR="+dir)
		c := dial(t, h.addresses[0])
		record := c.ask("IAMAT kiwi +1+1 5")
		c.ask("tab\there")
		quoted := regexp.QuoteMeta(record)
		who := regexp.QuoteMeta(c.conn.LocalAddr().String())
		const stamp = `(?m)^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z `
		for file, lines := range map[string][]string{
			"A.log": {
				`A neighbour up B B is up`,
				`A client open ` + who + `$`,
				`A client in ` + who + ` IAMAT kiwi \+1\+1 5$`,
				`A edge out B ` + quoted + `$`,
				`A client out ` + who + ` ` + quoted + `$`,
				`A client in ` + who + ` "tab\\there"$`,
				`A client out ` + who + ` "\? tab\\there"$`,
			},
			"B.log": {`B neighbour up A A is up`, `B edge in A ` + quoted + `$`},
		} {
			for _, line := range lines {
				eventually(t, func() error {
					text, err := os.ReadFile(filepath.Join(dir, file))
					if err == nil && !regexp.MustCompile(stamp+line).Match(text) {
						err = fmt.Errorf("%s has no line %s:\n%s", file, line, text)
					}
					return err
				})
			}
		}
		c.conn.Close()
		h.stop()
		text, err := os.ReadFile(filepath.Join(dir, "A.log"))
		if err != nil || !strings.HasPrefix(string(text), kept) || !strings.Contains(string(text), " A client close "+c.conn.LocalAddr().String()+"\n") {
			t.Fatalf("the log after a restart: %v\n%s", err, text)
		}
		kept = string(text)
	}
	if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("log directory %v, %v, want mode 0700", info.Mode(), err)
	}
}

// TestClientTLS: with a certificate the client port uses TLS.
func TestClientTLS(t *testing.T) {
	t.Parallel()
	cert, key, err := bustest.WriteCertificate(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	h := startUp(t, "Solo", "HERD_TLS_CERT="+cert, "HERD_TLS_KEY="+key)
	authority, err := os.ReadFile(cert)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(authority)
	conn, err := tls.Dial("tcp", h.addresses[0], &tls.Config{RootCAs: roots})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.Write([]byte("IAMAT kiwi +1+1 5")); err != nil {
		t.Fatal(err)
	}
	if err := conn.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(conn).ReadString('\n'); err != nil || !strings.HasPrefix(line, "AT Solo ") {
		t.Errorf("reply %q, %v", line, err)
	}
}

// TestHealthcheckProxy: the health check asks the server itself, also where the
// environment has a proxy.
func TestHealthcheckProxy(t *testing.T) {
	t.Parallel()
	addresses, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range addresses {
		ip, ok := a.(*net.IPNet)
		if !ok || ip.IP.To4() == nil || ip.IP.IsLoopback() {
			continue // Go uses no proxy for loopback
		}
		_, port, _ := strings.Cut(freeAddress(t), ":")
		env := []string{"HERD_TOPOLOGY=A", "HERD_LISTEN=127.0.0.1:0", "HERD_NATS_LISTEN=127.0.0.1:0", "HERD_OPS_LISTEN=" + net.JoinHostPort(ip.IP.String(), port)}
		h := start(t, env, "up")
		h.stdout.await(t, "operators: ")
		proxy := "http://" + freeAddress(t) // where nothing listens
		check := start(t, append(env, "http_proxy="+proxy, "HTTP_PROXY="+proxy), "healthcheck")
		if got := check.status(); got != exitOK {
			t.Errorf("exit status %d, want 0", got)
		}
		h.stop()
		return
	}
	t.Skip("no interface but loopback")
}
