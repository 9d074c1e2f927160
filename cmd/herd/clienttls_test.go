package main

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"herd/bus/bustest"
)

// authority is a CA for certificates of clients.
type authority struct {
	t    *testing.T
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "clients"}, NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return authority{t, cert, key}
}

// write writes the CA's certificate to a file.
func (a authority) write(path string) {
	a.t.Helper()
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.cert.Raw}), 0o600); err != nil {
		a.t.Fatal(err)
	}
}

// issue makes a client's certificate.
func (a authority) issue(commonName string, dnsNames ...string) *tls.Certificate {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: commonName}, DNSNames: dnsNames, NotAfter: time.Now().Add(time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, &key.PublicKey, a.key)
	if err != nil {
		a.t.Fatal(err)
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// tlsClient is a client's connection over TLS.
type tlsClient struct {
	t    *testing.T
	conn *tls.Conn
	r    *bufio.Reader
}

// tryTLS connects with a certificate, or with none. An error of the server is only seen by
// reading, so that is tried as well.
func tryTLS(t *testing.T, address string, certificate *tls.Certificate, sessions tls.ClientSessionCache) (*tlsClient, error) {
	t.Helper()
	cfg := &tls.Config{InsecureSkipVerify: true, ClientSessionCache: sessions}
	if certificate != nil {
		// Also if the server asks for certificates of another authority.
		cfg.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return certificate, nil }
	}
	conn := tls.Client(dial(t, address).conn, cfg)
	c := &tlsClient{t, conn, bufio.NewReader(conn)}
	if _, err := io.WriteString(conn, "hello\n"); err != nil {
		return nil, err
	}
	if line, err := c.r.ReadString('\n'); err != nil || line != "? hello\n" {
		return nil, fmt.Errorf("reply %q: %w", line, err)
	}
	return c, nil
}

func mustTLS(t *testing.T, address string, certificate *tls.Certificate) *tlsClient {
	t.Helper()
	c, err := tryTLS(t, address, certificate, nil)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// ask sends a line and returns the first line of the reply.
func (c *tlsClient) ask(line string) string {
	c.t.Helper()
	if _, err := io.WriteString(c.conn, line+"\n"); err != nil {
		c.t.Fatal(err)
	}
	reply, err := c.r.ReadString('\n')
	if err != nil {
		c.t.Fatal(err)
	}
	return strings.TrimSuffix(reply, "\n")
}

// TestCertificateNames: clients need a certificate of the CA, and report only as its name,
// except for a gateway. Others are refused and counted, and nothing of theirs is stored.
func TestCertificateNames(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	cert, key, err := bustest.WriteCertificate(dir)
	if err != nil {
		t.Fatal(err)
	}
	ca, file := newAuthority(t), filepath.Join(dir, "clients.pem")
	ca.write(file)
	h := startUp(t, "A-B", "HERD_TLS_CERT="+cert, "HERD_TLS_KEY="+key, "HERD_TLS_CLIENT_CA="+file,
		"HERD_TLS_BIND_ID=true", "HERD_TLS_BIND_EXCEPT=gateway, spare")
	at := h.addresses[0]

	kiwi := mustTLS(t, at, ca.issue("not used", "kiwi.example", "emu.example"))
	emu := mustTLS(t, at, ca.issue("emu.example"))
	gateway := mustTLS(t, at, ca.issue("", "gateway"))
	nameless := mustTLS(t, at, ca.issue(""))
	const reports = 40
	began := time.Now()
	for range reports / 4 {
		for c, id := range map[*tlsClient]string{kiwi: "emu.example", emu: "kiwi.example", nameless: "kiwi.example"} {
			if got, want := c.ask("IAMAT "+id+" +1+1 1"), "? IAMAT "+id+" +1+1 1"; got != want {
				t.Errorf("a report as another client: reply %q, want %q", got, want)
			}
		}
		if got := kiwi.ask("IAMAT kiwi.exampl +1+1 1"); !strings.HasPrefix(got, "? ") {
			t.Errorf("a report as a part of the name: reply %q", got)
		}
	}
	if got := kiwi.ask("WHATSAT kiwi.example 0 0"); got != "? WHATSAT kiwi.example 0 0" {
		t.Errorf("reply %q: what was refused is stored", got)
	}
	records := map[string]string{} // of the clients' own reports
	for id, c := range map[string]*tlsClient{"kiwi.example": kiwi, "emu.example": emu, "other": gateway, "gateway": gateway} {
		if records[id] = c.ask("IAMAT " + id + " +1+1 2"); !strings.HasPrefix(records[id], "AT A ") {
			t.Errorf("a report as %s: reply %q", id, records[id])
		}
	}
	if got := emu.ask("WHATSAT kiwi.example 0 0"); got != records["kiwi.example"] {
		t.Errorf("a request about another client: reply %q, want %q", got, records["kiwi.example"])
	}

	for who, certificate := range map[string]*tls.Certificate{"no certificate": nil, "another CA": newAuthority(t).issue("kiwi.example")} {
		if _, err := tryTLS(t, at, certificate, nil); err == nil || !strings.Contains(err.Error(), "tls: ") {
			t.Errorf("%s: error %v, want that of a TLS alert", who, err)
		}
	}
	var all map[string][]series
	eventually(t, func() error {
		all = scrape(t, h.ops)
		names, handshakes := sum(all, "herd_client_refusals_total", "reason", "certificate_name"), sum(all, "herd_client_refusals_total", "reason", "handshake_failed")
		if names != reports || handshakes != 2 {
			return fmt.Errorf("%v reports and %v handshakes were refused, want %v and 2", names, handshakes, reports)
		}
		return nil
	})
	if held := sum(all, "herd_records", "server", "A"); held != 4 {
		t.Errorf("A holds %v clients, want 4", held)
	}
	h.stderr.await(t, `level=WARN msg="reports refused: the client's certificate has another name" node=A count=\d+ last="127\.0\.0\.1:\d+: the certificate of \\"\S*\\" reports as`)
	if lines, most := strings.Count(h.stderr.String(), "reports refused"), 2+int(time.Since(began)/time.Second); lines > most {
		t.Errorf("%d lines about %d reports, want at most %d", lines, reports, most)
	}
	h.stop()
}

// TestClientAuthorityReload: after SIGHUP new connections need a certificate of the new CA,
// also if they resume a session, and others go on. A broken file is reported and changes
// nothing.
func TestClientAuthorityReload(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	cert, key, err := bustest.WriteCertificate(dir)
	if err != nil {
		t.Fatal(err)
	}
	before, after, file := newAuthority(t), newAuthority(t), filepath.Join(dir, "clients.pem")
	before.write(file)
	h := startUp(t, "A", "HERD_TLS_CERT="+cert, "HERD_TLS_KEY="+key, "HERD_TLS_CLIENT_CA="+file)
	at := h.addresses[0]
	old, renewed, sessions := before.issue("kiwi"), after.issue("kiwi"), tls.NewLRUClientSessionCache(10)
	open, err := tryTLS(t, at, old, sessions)
	if err != nil {
		t.Fatal(err)
	}
	if got := open.ask("IAMAT anybody +1+1 1"); !strings.HasPrefix(got, "AT ") {
		t.Errorf("reply %q: without HERD_TLS_BIND_ID any name is right", got)
	}

	if again, err := tryTLS(t, at, old, sessions); err != nil || !again.conn.ConnectionState().DidResume {
		t.Errorf("a session is not resumed: %v", err)
	}

	if err := os.WriteFile(file, []byte("half a c"), 0o600); err != nil {
		t.Fatal(err)
	}
	h.signal(syscall.SIGHUP)
	h.stderr.await(t, `level=ERROR msg="not everything was reloaded" err="HERD_TLS_CLIENT_CA: \S+ contains no PEM certificate: the certificates of clients are still verified against the old one"`)
	mustTLS(t, at, old)
	if _, err := tryTLS(t, at, renewed, nil); err == nil {
		t.Error("a certificate of a new CA before it was read")
	}

	after.write(file)
	h.signal(syscall.SIGHUP)
	h.stderr.await(t, `level=INFO msg=reloaded changes="CA of the clients' certificates"`)
	mustTLS(t, at, renewed)
	if _, err := tryTLS(t, at, old, nil); err == nil {
		t.Error("a certificate of the old CA is still accepted")
	}
	if _, err := tryTLS(t, at, old, sessions); err == nil {
		t.Error("a session of the old CA is resumed")
	}
	if got := open.ask("x"); got != "? x" {
		t.Errorf("an open connection gets %q", got)
	}
	if strings.Contains(h.stderr.String(), "half") {
		t.Error("the log has something of the file")
	}
	h.stop()
}
