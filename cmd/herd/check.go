package main

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nkeys"

	"herd/bus"
)

// checker checks the values of variables and flags, and collects all faults. Its
// methods take the name of the variable or flag, for the fault.
type checker struct {
	faults []error
}

func (c *checker) fault(name, format string, args ...any) {
	c.faults = append(c.faults, fmt.Errorf(name+": "+format, args...))
}

// faultEach adds every fault of a joined error.
func (c *checker) faultEach(name string, err error) {
	var joined interface{ Unwrap() []error }
	switch {
	case err == nil:
	case errors.As(err, &joined):
		for _, one := range joined.Unwrap() {
			c.fault(name, "%w", one)
		}
	default:
		c.fault(name, "%w", err)
	}
}

func (c *checker) number(name, value string, least, most int) int {
	n, err := strconv.Atoi(value)
	if err != nil || n < least || n > most {
		c.fault(name, "%q is not a whole number from %d to %d", value, least, most)
	}
	return n
}

func (c *checker) duration(name, value string, least time.Duration) time.Duration {
	d, err := time.ParseDuration(value)
	if err != nil || d < least {
		c.fault(name, "%q is not a duration of at least %v, such as 30s or 10m", value, least)
	}
	return d
}

// address checks a host:port to listen at; "" is valid.
func (c *checker) address(name, value string) string {
	if value == "" {
		return ""
	}
	_, port, err := net.SplitHostPort(value)
	if err == nil {
		_, err = strconv.ParseUint(port, 10, 16)
	}
	if err != nil {
		c.fault(name, "%q is not an address such as 127.0.0.1:12000", value)
	}
	return value
}

// portRange checks that n ports, counted up from that of a valid address, exist. what is
// the thing that each is for.
func (c *checker) portRange(name, address string, n int, what string) {
	if _, port := splitPort(address); port > 0 && port+n-1 > 65535 {
		c.fault(name, "%s leaves no port for %s %d: choose a lower port", address, what, 65536-port+1)
	}
}

// natsURLs checks a comma-separated list; "" is valid. Faults quote only what is a URL:
// a comma in a password, which must be %2C, makes parts of it look like entries.
func (c *checker) natsURLs(name, value string) (urls []string) {
	if value == "" {
		return nil
	}
	entries := strings.Split(value, ",")
	for i, entry := range entries {
		full, u, err := parseNATSURL(entry)
		switch {
		case err != nil:
			c.fault(name, "entry %d of %d is not a NATS URL such as nats://127.0.0.1:4222; in a user name or password write a comma as %%2C", i+1, len(entries))
		case u.Scheme != "nats" && u.Scheme != "tls" && u.Scheme != "ws" && u.Scheme != "wss":
			c.fault(name, "%s: the scheme must be nats, tls, ws or wss", bus.RedactURL(strings.TrimSpace(entry)))
		default:
			urls = append(urls, full) // not u.String(), which decodes %2C
		}
	}
	return urls
}

// parseNATSURL parses a URL and adds the scheme if it is missing.
func parseNATSURL(text string) (full string, u *url.URL, err error) {
	full = strings.TrimSpace(text)
	if !strings.Contains(full, "://") {
		full = "nats://" + full
	}
	u, err = url.Parse(full)
	if err == nil && u.Hostname() == "" {
		err = errors.New("no host")
	}
	return full, u, err
}

// redactNATSURLs is HERD_NATS_URL without secrets.
func redactNATSURLs(value string) string {
	entries := strings.Split(value, ",")
	for _, entry := range entries {
		if _, _, err := parseNATSURL(entry); err != nil {
			return "(malformed)"
		}
	}
	return bus.RedactURLs(entries)
}

// file reads a file. It returns nil if path is "", or on a fault.
func (c *checker) file(name, path string) []byte {
	if path == "" {
		return nil
	}
	content, err := os.ReadFile(path)
	if err != nil {
		c.fault(name, "%w", err)
		return nil
	}
	return content
}

// seed checks that a file holds an nkey seed. A directory is valid here: hasSeeds
// checks the seeds in it that a command needs.
func (c *checker) seed(path string) string {
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		return path
	}
	if content := c.file("HERD_NATS_SEED", path); content != nil {
		if _, err := nkeys.ParseDecoratedNKey(content); err != nil {
			c.fault("HERD_NATS_SEED", "%s: %w", path, err)
		}
	}
	return path
}

// creds checks that a file holds NATS credentials.
func (c *checker) creds(path string) string {
	if content := c.file("HERD_NATS_CREDS", path); content != nil {
		_, err := nkeys.ParseDecoratedJWT(content)
		if err == nil {
			_, err = nkeys.ParseDecoratedUserNKey(content)
		}
		if err != nil {
			c.fault("HERD_NATS_CREDS", "%s: %w", path, err)
		}
	}
	return path
}

// authority checks that a file holds a CA certificate.
func (c *checker) authority(name, path string) string {
	if content := c.file(name, path); content != nil && !x509.NewCertPool().AppendCertsFromPEM(content) {
		c.fault(name, "%s contains no PEM certificate", path)
	}
	return path
}

// directory creates a directory if it is missing; "" is valid.
func (c *checker) directory(name, path string) string {
	if path != "" {
		if err := os.MkdirAll(path, 0o700); err != nil {
			c.fault(name, "%w", err)
		}
	}
	return path
}

// keyPair loads a certificate and its key. It returns nil if both are unset, or on a
// fault.
func (c *checker) keyPair(certName, cert, keyName, key string) *tls.Certificate {
	if cert == "" && key == "" {
		return nil
	}
	if cert == "" || key == "" {
		c.faults = append(c.faults, fmt.Errorf("%s and %s must be set together", certName, keyName))
		return nil
	}
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		c.fault(certName, "%w", err)
		return nil
	}
	return &pair
}
