package main

import (
	"crypto/tls"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"herd/bus/bustest"
)

// TestHangup: SIGHUP ends neither command that runs servers, at any time: right after the
// start, at rest, and during a stop.
func TestHangup(t *testing.T) {
	t.Parallel()
	broker := startAs(t, asBroker, nil, "-a", "127.0.0.1", "-p", "-1")
	url := "nats://" + broker.stderr.await(t, `Listening for client connections on (\S+)`)[1]
	for _, args := range [][]string{{"up"}, {"serve", "A"}} {
		env := append([]string{"HERD_TOPOLOGY=A", "HERD_JOURNAL=ack", "HERD_DATA_DIR=" + t.TempDir()}, anyPorts...)
		if args[0] == "serve" {
			env = append(env, "HERD_NATS_URL="+url)
		}
		p := start(t, env, args...)
		p.stderr.await(t, ".") // the first line of its log
		stormed := make(chan struct{})
		go func() {
			defer close(stormed)
			for {
				select {
				case <-p.ended:
					return
				case <-time.After(time.Millisecond):
					p.cmd.Process.Signal(syscall.SIGHUP)
				}
			}
		}()
		address := p.stderr.await(t, `msg=listening .*clients=(\S+)`)[1]
		p.stderr.await(t, `level=INFO msg=reloaded changes=none`)
		p.stderr.await(t, `msg=ready `)
		if got := dial(t, address).ask("IAMAT kiwi +1+1 5"); !strings.HasPrefix(got, "AT A ") {
			t.Errorf("%v: reply %q after SIGHUP", args, got)
		}
		p.stop()
		<-stormed
	}
}

// TestRenewedCertificate: after SIGHUP, handshakes show the new certificate, and sessions
// go on. A broken file is reported, and the certificate stays.
func TestRenewedCertificate(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	cert, key, err := bustest.WriteCertificate(dir)
	if err != nil {
		t.Fatal(err)
	}
	h := startUp(t, "A", "HERD_TLS_CERT="+cert, "HERD_TLS_KEY="+key)
	dialTLS := func() (*tls.Conn, string) {
		t.Helper()
		conn, err := tls.Dial("tcp", h.addresses[0], &tls.Config{InsecureSkipVerify: true})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		return conn, fmt.Sprintf("%x", conn.ConnectionState().PeerCertificates[0].Raw)
	}
	session, first := dialTLS()
	if _, _, err := bustest.WriteCertificate(dir); err != nil {
		t.Fatal(err)
	}
	if _, got := dialTLS(); got != first {
		t.Error("another certificate without SIGHUP")
	}
	h.signal(syscall.SIGHUP)
	h.stderr.await(t, `level=INFO msg=reloaded changes="certificate of the client port"`)
	_, second := dialTLS()
	if second == first {
		t.Error("the old certificate after SIGHUP")
	}
	session.SetDeadline(time.Now().Add(patience))
	reply := make([]byte, 6)
	if _, err := io.WriteString(session, "hello\n"); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(session, reply); err != nil || string(reply) != "? hell" {
		t.Errorf("an open session gets %q, %v", reply, err)
	}

	if err := os.WriteFile(filepath.Join(dir, "key.pem"), []byte("half a k"), 0o600); err != nil {
		t.Fatal(err)
	}
	h.signal(syscall.SIGHUP)
	h.stderr.await(t, `level=ERROR msg="not everything was reloaded" err="HERD_TLS_CERT, HERD_TLS_KEY: tls: .*: clients still get the old certificate"`)
	if _, got := dialTLS(); got != second {
		t.Error("another certificate after a SIGHUP with a broken file")
	}
	if log := h.stderr.String(); strings.Contains(log, "half") || strings.Count(log, "msg=reloaded") != 2 {
		t.Error("want two lines that say reloaded, and nothing of the file")
	}
	h.stop()
}

// TestReloadTopologyOfUp: each server of up reports its own changes, and each once. A server
// that the running herd lacks is named as such.
func TestReloadTopologyOfUp(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "herd.edges")
	write := func(edges string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(edges), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("A-B\nB-C\n")
	h := startUp(t, file)
	env := []string{"HERD_TOPOLOGY=" + file, "HERD_NATS_URL=" + h.nats, "HERD_NATS_SEED=" + opsSeedOf(t, h)}
	reload := func(want string, args ...string) {
		t.Helper()
		if exit, out := outcome(t, env, append([]string{"reload"}, args...)...); exit != exitOK || out != want {
			t.Errorf("reload %q: exit status %d\n%s\nwant\n%s", args, exit, out, want)
		}
	}
	write("A-B\nB-C\nA-C\n")
	reload("A: new neighbours: C\nA: reloaded\nB: the same neighbours, other edges elsewhere\nB: reloaded\nC: new neighbours: A\nC: reloaded\n")
	reload("A: reloaded\nB: reloaded\nC: reloaded\n")
	write("A-B\nB-C\n")
	reload("C: no longer neighbours: A\nC: reloaded\n", "C", "C")
	reload("A: no longer neighbours: C\nA: reloaded\nB: the same neighbours, other edges elsewhere\nB: reloaded\n", "B", "A")

	write("A-B\nB-C\nC-D\n")
	exit, out := outcome(t, env, "reload")
	if exit != exitFailure || strings.Contains(out, "operators") || strings.Count(out, "servers were added or removed: restart herd up") != 3 ||
		!strings.Contains(out, "reload D: the broker permits this request for other servers only: D is not in the topology of the running herd, or") {
		t.Errorf("exit status %d\n%s", exit, out)
	}
	h.stop()
}
