package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"syscall"
	"time"
)

// tlsFlags are the flags of the commands that connect to servers as clients do.
type tlsFlags struct {
	TLS  bool   `name:"tls" help:"Connect with TLS, and verify the server's certificate."`
	CA   string `name:"ca" type:"existingfile" placeholder:"FILE" help:"File with the CA certificate, or the certificate itself, of the server (default: the system's CAs). Implies --tls."`
	Cert string `type:"existingfile" placeholder:"FILE" help:"File with a client certificate. Implies --tls."`
	Key  string `type:"existingfile" placeholder:"FILE" help:"File with the key of that certificate."`
}

// config is what the flags ask for; nil without TLS.
func (f tlsFlags) config() (*tls.Config, error) {
	if f == (tlsFlags{}) {
		return nil, nil
	}
	var c checker
	config := &tls.Config{}
	if authority := c.authority("--ca", f.CA); authority != nil {
		config.RootCAs = x509.NewCertPool()
		config.RootCAs.AppendCertsFromPEM(authority)
	}
	if pair := c.keyPair("--cert", f.Cert, "--key", f.Key); pair != nil {
		config.Certificates = []tls.Certificate{*pair}
	}
	return config, errors.Join(c.faults...)
}

// halfCloser is a connection whose sending side can be closed: TCP or TLS.
type halfCloser interface {
	net.Conn
	CloseWrite() error
}

// dialClient connects to the client port at an address, with TLS if config is not nil.
func dialClient(ctx context.Context, address string, config *tls.Config, timeout time.Duration) (halfCloser, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", address)
	if err != nil || config == nil {
		tcp, _ := conn.(halfCloser)
		return tcp, err
	}
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		conn.Close()
		return nil, err
	}
	config = config.Clone()
	config.ServerName = host
	encrypted := tls.Client(conn, config)
	if err := encrypted.HandshakeContext(ctx); err != nil {
		conn.Close()
		return nil, fmt.Errorf("TLS with %s: %w", address, err)
	}
	return encrypted, nil
}

// tlsHint says what to do about a failed TLS handshake.
func tlsHint(err error) error {
	var notTLS tls.RecordHeaderError
	var unknown x509.UnknownAuthorityError
	switch {
	case errors.As(err, &notTLS):
		return fmt.Errorf("%w: the server does not use TLS: leave out --tls, --ca, --cert and --key", err)
	case errors.As(err, &unknown):
		return fmt.Errorf("%w: give the CA's certificate, or the server's own, with --ca", err)
	}
	return err
}

// dialHint says what to do about a failure to connect.
func dialHint(err error, address string, byDefault bool) error {
	switch {
	case errors.Is(err, syscall.ECONNREFUSED) && byDefault:
		return fmt.Errorf("no server listens at %s: start the herd with herd up, or give the server's address (herd ask HOST:PORT …)", address)
	case errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Errorf("no server listens at %s: is it running?", address)
	}
	return tlsHint(err)
}
