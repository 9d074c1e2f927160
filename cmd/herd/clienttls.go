package main

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"slices"
	"sync/atomic"
)

// clientTLS is the TLS of the client ports. New handshakes use the files that were read
// last. Only one goroutine at a time may reload it.
type clientTLS struct {
	certFile, keyFile string
	authorityFile     string // "" if clients need no certificates

	pair      *tls.Certificate
	authority []byte // PEM; what authorityFile held
	current   atomic.Pointer[tls.Config]
}

// newClientTLS makes the TLS of files that hold pair and authority.
func newClientTLS(certFile, keyFile string, pair *tls.Certificate, authorityFile string, authority []byte) *clientTLS {
	t := &clientTLS{certFile: certFile, keyFile: keyFile, authorityFile: authorityFile, pair: pair, authority: authority}
	t.apply()
	return t
}

// config is nil for no TLS.
func (t *clientTLS) config() *tls.Config {
	if t == nil {
		return nil
	}
	return &tls.Config{GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) { return t.current.Load(), nil }}
}

// apply makes new handshakes use pair and authority. crypto/tls also verifies the
// certificate of a session that is resumed against the new authority.
func (t *clientTLS) apply() {
	cfg := &tls.Config{Certificates: []tls.Certificate{*t.pair}}
	if t.authorityFile != "" {
		cfg.ClientAuth, cfg.ClientCAs = tls.RequireAndVerifyClientCert, x509.NewCertPool()
		cfg.ClientCAs.AppendCertsFromPEM(t.authority)
	}
	t.current.Store(cfg)
}

// reloadCertificate reads the certificate and its key again, and reports whether the
// certificate is another one. On an error it stays.
func (t *clientTLS) reloadCertificate() (changed bool, err error) {
	pair, err := tls.LoadX509KeyPair(t.certFile, t.keyFile)
	if err != nil {
		return false, err
	}
	changed = !slices.EqualFunc(t.pair.Certificate, pair.Certificate, bytes.Equal)
	t.pair = &pair
	t.apply()
	return changed, nil
}

// reloadAuthority reads the certificates of the clients' authority again, and reports
// whether they are others. On an error they stay.
func (t *clientTLS) reloadAuthority() (changed bool, err error) {
	if t.authorityFile == "" {
		return false, nil
	}
	authority, err := os.ReadFile(t.authorityFile)
	switch {
	case err != nil:
		return false, err
	case !hasCertificate(authority):
		return false, fmt.Errorf("%s contains no PEM certificate", t.authorityFile)
	case bytes.Equal(authority, t.authority):
		return false, nil
	}
	t.authority = authority
	t.apply()
	return true, nil
}

// hasCertificate reports whether a text contains a PEM certificate.
func hasCertificate(text []byte) bool { return x509.NewCertPool().AppendCertsFromPEM(text) }
