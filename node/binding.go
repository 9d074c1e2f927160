package node

import (
	"crypto/tls"
	"crypto/x509"
	"slices"
)

// Binding lets each client report as the client that its certificate names, and as no
// other. TLS must require certificates.
type Binding struct {
	Except []string // names whose certificates may report as any client
}

// bind notes the name of the client's certificate. The TLS handshake is complete.
func (s *session) bind() {
	secure, ok := s.conn.(*tls.Conn)
	b := s.node.cfg.Binding
	if b == nil || !ok {
		return
	}
	if chain := secure.ConnectionState().PeerCertificates; len(chain) > 0 {
		s.certificate = certificateName(chain[0])
	}
	s.bound = !slices.Contains(b.Except, s.certificate)
}

// certificateName is the name of a certificate: its first DNS name, or else its common
// name.
func certificateName(c *x509.Certificate) string {
	if len(c.DNSNames) > 0 {
		return c.DNSNames[0]
	}
	return c.Subject.CommonName
}

// mayReport reports whether the session may report as a client.
func (s *session) mayReport(client []byte) bool {
	return !s.bound || s.certificate == string(client)
}
