package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
)

// survive keeps two signals from ending the process: SIGHUP, also that of a terminal that
// is closed, and SIGPIPE, if nobody reads its output any more. It returns the SIGHUPs.
// Those that arrive while one is handled count as one.
func survive() (hangups <-chan os.Signal) {
	signal.Ignore(syscall.SIGPIPE)
	c := make(chan os.Signal, 1)
	signal.Notify(c, syscall.SIGHUP)
	return c
}

// reloadOnHangup reloads at each SIGHUP, until ctx ends.
func (p *process) reloadOnHangup(ctx context.Context) {
	for {
		select {
		case <-p.hangups:
			p.reload() // which logs its outcome
		case <-ctx.Done():
			return
		}
	}
}

// reload reads again what may change while the process runs, and logs the outcome. It
// returns what changed, in words. What cannot be read stays as it is and is part of the
// error; the rest is reloaded. Traffic logs are opened anew, which is no change. Calls
// follow one another.
func (p *process) reload() (changes []string, err error) {
	p.reloading.Lock()
	defer p.reloading.Unlock()
	var faults []error
	if cert := p.settings.clientCert; cert != nil {
		changed, err := cert.reload()
		if err != nil {
			faults = append(faults, fmt.Errorf("HERD_TLS_CERT, HERD_TLS_KEY: %w: clients still get the old certificate", err))
		}
		if changed {
			changes = append(changes, "certificate of the client port")
		}
	}
	for _, s := range p.servers {
		s.node.ReopenTrafficLog()
	}
	what := "none"
	if len(changes) > 0 {
		what = strings.Join(changes, ", ")
	}
	p.log.Info("reloaded", "changes", what)
	if err = errors.Join(faults...); err != nil {
		p.log.Error("not everything was reloaded", "err", err)
	}
	return changes, err
}

// certificate is the certificate of the client ports. New handshakes use the one that was
// loaded last.
type certificate struct {
	certFile, keyFile string
	current           atomic.Pointer[tls.Certificate]
}

func newCertificate(certFile, keyFile string, pair *tls.Certificate) *certificate {
	c := &certificate{certFile: certFile, keyFile: keyFile}
	c.current.Store(pair)
	return c
}

func (c *certificate) tlsConfig() *tls.Config {
	return &tls.Config{GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return c.current.Load(), nil }}
}

// reload reads the files again, and reports whether the certificate is another one. On
// an error the certificate stays.
func (c *certificate) reload() (changed bool, err error) {
	pair, err := tls.LoadX509KeyPair(c.certFile, c.keyFile)
	if err != nil {
		return false, err
	}
	old := c.current.Swap(&pair)
	return !slices.EqualFunc(old.Certificate, pair.Certificate, bytes.Equal), nil
}
