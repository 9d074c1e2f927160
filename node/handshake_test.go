package node

import (
	"bufio"
	"crypto/tls"
	"io"
	"testing"
	"testing/synctest"
	"time"
)

// TestHandshakeTimeout: a connection that does not complete its TLS handshake is closed
// after generous.Handshake, long before the idle timeout. One that does is served.
func TestHandshakeTimeout(t *testing.T) {
	serverTLS, clientTLS := testTLS(t)
	synctest.Test(t, func(t *testing.T) {
		h := newTestHerd(t, "Solo")
		pipes := h.start("Solo", 1, func(cfg *Config) { cfg.TLS = serverTLS }).ln
		settle()
		began := time.Now()
		silent := pipes.dial(nil)
		defer silent.Close()
		if _, err := io.ReadAll(silent); err != nil {
			t.Error(err)
		}
		if took := time.Since(began); took != generous.Handshake {
			t.Errorf("a silent connection was closed after %v, want %v", took, generous.Handshake)
		}
		conn := tls.Client(pipes.dial(nil), clientTLS)
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
