package node

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"herd/bus/bustest"
)

// TestHandshakeTimeout: a connection that does not complete its TLS handshake is closed
// after handshakeTimeout, long before the idle timeout. One that does is served.
func TestHandshakeTimeout(t *testing.T) {
	certFile, keyFile, err := bustest.WriteCertificate(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	certificate, err := tls.LoadX509KeyPair(certFile, keyFile)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(certificate.Leaf)
	synctest.Test(t, func(t *testing.T) {
		h := newTestHerd(t, "Solo")
		pipes := h.start("Solo", 1, func(cfg *Config) { cfg.TLS = &tls.Config{Certificates: []tls.Certificate{certificate}} }).ln
		settle()
		began := time.Now()
		silent := pipes.dial(nil)
		defer silent.Close()
		if _, err := io.ReadAll(silent); err != nil {
			t.Error(err)
		}
		if took := time.Since(began); took != handshakeTimeout {
			t.Errorf("a silent connection was closed after %v, want %v", took, handshakeTimeout)
		}
		conn := tls.Client(pipes.dial(nil), &tls.Config{RootCAs: roots, ServerName: "127.0.0.1"})
		defer conn.Close()
		c := &client{t, conn, bufio.NewReader(conn)}
		if got := c.ask("x"); got != "? x\n" {
			t.Errorf("the reply over TLS is %q", got)
		}
		if n := h.servers["Solo"].node.Stats().Clients; n != 1 {
			t.Errorf("%d connections are open, want 1", n)
		}
	})
}
