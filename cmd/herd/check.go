package main

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nkeys"

	"herd/bus"
	"herd/node/wire"
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
	for _, one := range unjoin(err) {
		c.fault(name, "%w", one)
	}
}

// unjoin returns the errors that were joined; none for nil.
func unjoin(err error) []error {
	var joined interface{ Unwrap() []error }
	switch {
	case err == nil:
		return nil
	case errors.As(err, &joined):
		return joined.Unwrap()
	}
	return []error{err}
}

func (c *checker) number(name, value string, least, most int) int {
	n, err := strconv.Atoi(value)
	if err != nil || n < least || n > most {
		c.fault(name, "%q is not a whole number from %d to %d", value, least, most)
	}
	return n
}

// bytes checks a number of bytes, with or without a unit; "" is valid and 0.
func (c *checker) bytes(name, value string, least int64) int64 {
	if value == "" {
		return 0
	}
	n, ok := parseBytes(value)
	if !ok || n < least {
		c.fault(name, "%q is not a number of bytes of at least %d, such as 300MiB, 2GB or 1073741824", value, least)
	}
	return n
}

// isClient checks a client's ID.
func (c *checker) isClient(name, id string) {
	if !wire.IsClient(id) {
		c.fault(name, "%.80q is not a client's ID: an ID has 1 to %d bytes, and no white space", id, wire.MaxClient)
	}
}

func (c *checker) duration(name, value string, least time.Duration) time.Duration {
	d, err := time.ParseDuration(value)
	if err != nil || d < least {
		c.fault(name, "%q is not a duration of at least %v, such as %v", value, least, max(2*least, 30*time.Second))
	}
	return d
}

// keep checks the time after which records expire; "" is never.
func (c *checker) keep(name, value string) time.Duration {
	const least = time.Minute
	if value == "" {
		return 0
	}
	d := c.duration(name, value, least)
	if d%time.Second != 0 {
		c.fault(name, "%q is not a whole number of seconds", value)
	}
	return d
}

// boolean checks true or false.
func (c *checker) boolean(name, value string) bool {
	if value != "true" && value != "false" {
		c.fault(name, "%q is not true or false", value)
	}
	return value == "true"
}

// perSecond checks a rate such as 100/s; the unit may be left out.
func (c *checker) perSecond(name, value string) int {
	const most = 1_000_000
	n, err := strconv.Atoi(strings.TrimSuffix(value, "/s"))
	if err != nil || n < 0 || n > most {
		c.fault(name, "%q is not a whole number per second from 0 to %d, such as 100/s", value, most)
	}
	return n
}

// names checks a comma-separated list; "" is valid.
func (c *checker) names(name, value string) (names []string) {
	if value == "" {
		return nil
	}
	for one := range strings.SplitSeq(value, ",") {
		if one = strings.TrimSpace(one); one == "" {
			c.fault(name, "%q has an empty entry: remove a comma", value)
			continue
		}
		names = append(names, one)
	}
	return names
}

// networks checks a comma-separated list of networks and addresses; off is none.
func (c *checker) networks(name, value string) (networks []netip.Prefix) {
	if value == "off" {
		return nil
	}
	for _, one := range c.names(name, value) {
		network, err := netip.ParsePrefix(one)
		if address, addressErr := netip.ParseAddr(one); addressErr == nil && address.Zone() == "" {
			network, err = netip.PrefixFrom(address, address.BitLen()), nil
		}
		switch {
		case err != nil:
			c.fault(name, "%q is not a network such as 10.0.0.0/8, an address, or off", one)
		case network.Addr().Is4In6():
			c.fault(name, "%q is an IPv4 address in IPv6 notation: write it as IPv4", one)
		case network != network.Masked():
			c.fault(name, "%q is not the beginning of a network: write %s, or the address alone", one, network.Masked())
		default:
			networks = append(networks, network)
		}
	}
	return networks
}

// address checks a host:port to listen at; "" is valid.
func (c *checker) address(name, value string) string {
	if value == "" {
		return ""
	}
	_, port, err := net.SplitHostPort(value)
	if err != nil || !isPort(port) {
		c.fault(name, "%q is not an address such as 127.0.0.1:12000", value)
	}
	return value
}

// fixedAddress checks a host:port to listen at that others must know.
func (c *checker) fixedAddress(name, value string) {
	switch _, port := splitPort(value); {
	case value == "":
		c.fault(name, "is empty: give an address such as 127.0.0.1:12000")
	case c.address(name, value) != "" && port == 0 && strings.HasSuffix(value, ":0"):
		c.fault(name, "%s has port 0: choose a port, which others must know", value)
	}
}

// host checks the name or the IP address of a host, without a port.
func (c *checker) host(name, value string) {
	if _, err := netip.ParseAddr(value); err != nil && !hostName.MatchString(value) {
		c.fault(name, "%q is not the name or the IP address of a host, without a port", value)
	}
}

// hostNames checks a comma-separated list of hosts.
func (c *checker) hostNames(name, value string) (hosts []string) {
	for _, one := range c.names(name, value) {
		c.host(name, one)
		hosts = append(hosts, strings.TrimSuffix(one, "."))
	}
	return hosts
}

var hostName = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9_.-]{0,252}[A-Za-z0-9])?$`)

func isPort(text string) bool {
	_, err := strconv.ParseUint(text, 10, 16)
	return err == nil
}

// portRange checks that n ports, counted up from that of a valid address, exist. what is
// the thing that each is for.
func (c *checker) portRange(name, address string, n int, what string) {
	if _, port := splitPort(address); port > 0 && port <= 65535 && port+n-1 > 65535 {
		c.fault(name, "%s leaves no port for %s %d: choose a lower port", address, what, 65536-port+1)
	}
}

// natsURLs checks a comma-separated list; "" is valid. Faults quote only what is a URL:
// a comma in a password, which must be %2C, makes parts of it look like entries.
func (c *checker) natsURLs(name, value string) (urls []string) {
	if value == "" {
		return nil
	}
	if c.isQuoted(name, value) {
		return nil
	}
	entries := parseNATSURLs(value)
	for i, e := range entries {
		switch {
		case errors.Is(e.err, bus.ErrScheme):
			c.fault(name, "%s: %w", bus.RedactURL(e.text), bus.ErrScheme)
		case e.err != nil:
			c.fault(name, "entry %d of %d is not a NATS URL such as nats://127.0.0.1:4222; "+
				"in a user name or password write a comma as %%2C, / as %%2F, ? as %%3F, # as %%23, %% as %%25, a space as %%20", i+1, len(entries))
		case !strings.Contains(e.text, "://"):
			urls = append(urls, "nats://"+e.text)
		default:
			urls = append(urls, e.text) // not url.String(), which decodes %2C
		}
	}
	return urls
}

// natsURL is an entry of HERD_NATS_URL.
type natsURL struct {
	text string
	url  *url.URL
	err  error // of url, which is then nil
}

// parseNATSURLs parses a comma-separated list. It refuses what may be a part of a password
// with a comma in it: it would be shown, or taken for a host.
func parseNATSURLs(value string) (entries []natsURL) {
	for i, text := range strings.Split(value, ",") {
		e := natsURL{text: strings.TrimSpace(text)}
		e.url, e.err = bus.ParseURL(e.text)
		switch {
		case e.err != nil:
		case e.url.RawQuery != "" || e.url.Fragment != "": // behind a ? or # in a password
			e.err = errors.New("more than a host and a path")
		case i > 0 && !strings.Contains(e.text, "://") && e.url.User != nil && entries[i-1].url != nil && entries[i-1].url.User == nil:
			e.err = errors.New("@ behind a comma")
		}
		entries = append(entries, e)
	}
	return entries
}

// redactNATSURLs is HERD_NATS_URL without secrets. A malformed value is not shown at all.
func redactNATSURLs(value string) string {
	var urls []string
	for _, e := range parseNATSURLs(value) {
		if e.err != nil && !errors.Is(e.err, bus.ErrScheme) {
			return "(malformed)"
		}
		urls = append(urls, e.text)
	}
	return bus.RedactURLs(urls)
}

// isQuoted adds a fault if a value is in quotes, which a file for Docker or systemd may
// keep as a part of it.
func (c *checker) isQuoted(name, value string) bool {
	const quotes = "\"'`"
	if value == "" || !strings.ContainsRune(quotes, rune(value[0])) && !strings.ContainsRune(quotes, rune(value[len(value)-1])) {
		return false
	}
	c.fault(name, "the value begins or ends with a quotation mark: remove the quotes")
	return true
}

// file reads a file. It returns nil if path is "", or on a fault.
func (c *checker) file(name, path string) []byte {
	if path == "" {
		return nil
	}
	content, err := os.ReadFile(path)
	isFlag := strings.HasPrefix(name, "--") // a command line is no place for secrets
	var reason *fs.PathError
	switch {
	case err == nil:
		return content
	case errors.Is(err, fs.ErrNotExist) && !filepath.IsAbs(path) && (isFlag || isPath(path) || plainPath.MatchString(path)):
		dir, _ := os.Getwd()
		c.fault(name, "%w (in %s)", err, dir)
	case isFlag || isPath(path) || !errors.As(err, &reason):
		c.fault(name, "%w", err)
	default:
		c.fault(name, "%w (the value is not shown, since it may be a secret: set the path of a file)", reason.Err)
	}
	return nil
}

// plainPath matches what is no secret, but a path, even if nothing is there: a short word, or
// what ends as the name of a file does.
var plainPath = regexp.MustCompile(`^([a-z][a-z_-]{0,11}|[\w./-]{1,100}\.(nk|pem|crt|cer|key|creds|seed|txt))$`)

// isPath reports whether a value is plainly a path, and not a secret that was set in its
// place: something has that path, or could have it, for its directory exists.
func isPath(value string) bool {
	if _, err := os.Lstat(value); err == nil {
		return true
	}
	dir := filepath.Dir(value)
	if dir == "." || dir == "/" {
		return false
	}
	info, err := os.Stat(dir)
	return err == nil && info.IsDir()
}

// seed checks that a file holds an nkey seed.
func (c *checker) seed(path string) {
	before := len(c.faults)
	content := c.file("HERD_NATS_SEED", path)
	for i := before; i < len(c.faults); i++ {
		if errors.Is(c.faults[i], fs.ErrNotExist) {
			c.faults[i] = fmt.Errorf("%w: herd bus-config writes keys", c.faults[i])
		}
	}
	if content == nil || c.isQuoted("HERD_NATS_SEED", strings.TrimSpace(string(content))) {
		return
	}
	if _, err := nkeys.ParseDecoratedNKey(content); err != nil {
		c.fault("HERD_NATS_SEED", "%s: %w", path, err)
	}
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

// authority checks that a file holds a CA certificate, and returns its content.
func (c *checker) authority(name, path string) []byte {
	content := c.file(name, path)
	if content != nil && !hasCertificate(content) {
		c.fault(name, "%s contains no PEM certificate", path)
	}
	return content
}

// directory creates a directory if it is missing; "" is valid.
func (c *checker) directory(name, path string) {
	if path == "" {
		return
	}
	if err := os.MkdirAll(path, 0o700); err != nil {
		c.fault(name, "%w", err)
	}
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
	certText, keyText := c.file(certName, cert), c.file(keyName, key)
	if certText == nil || keyText == nil {
		return nil
	}
	pair, err := tls.X509KeyPair(certText, keyText)
	if err != nil {
		c.fault(certName, "%w", err)
		return nil
	}
	return &pair
}
