package main

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"os"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nkeys"

	"herd/bus"
	"herd/bus/access"
	"herd/bus/access/keydir"
	"herd/bus/natsbus"
	"herd/bus/topology"
	"herd/node"
	"herd/places/stack"
)

// The ports of the first server of a herd.
const (
	clientPort = 12000
	opsPort    = 12080
)

// defaultPrefix is what HERD_PREFIX is where it is not set.
const defaultPrefix = bus.Prefix("herd")

// settings is a valid environment.
type settings struct {
	topology string // as it was given
	graph    *topology.Graph
	name     string
	listen   string // "" is unset

	natsURLs   []string // empty is unset
	natsListen string
	seed       string // a file, or a directory of seeds (seedOf)
	creds      string
	ca         string
	cert, key  string
	prefix     bus.Prefix

	logLevel  slog.Level
	logDir    string
	opsListen string // "" is unset

	clientTLS *tls.Config // nil is none
	limits    node.Limits
	journal   journalKind
	dataDir   string
	repair    time.Duration

	places       stack.Config // process.placesConfig completes it
	placesBudget int          // calls a day of the whole herd to each web service, or stack.Unlimited
}

// loadSettings reads and checks the environment, and with it what further checks a
// command has. All faults come back as one usageError, a line each.
func loadSettings(further ...func(*checker, settings)) (settings, error) {
	env, faults, err := readEnvironment()
	if err != nil {
		return settings{}, err
	}
	c := checker{faults: faults}
	s := c.settings(env)
	for _, check := range further {
		check(&c, s)
	}
	if err := errors.Join(c.faults...); err != nil {
		return settings{}, usageError{err}
	}
	return s, nil
}

// checker turns strings into what they mean, and collects what is wrong.
type checker struct {
	faults []error
}

func (c *checker) settings(e environment) settings {
	s := settings{
		topology: e.Topology, name: e.Name,
		seed: c.seed(e.NatsSeed), creds: c.creds(e.NatsCreds), ca: c.authority("HERD_NATS_CA", e.NatsCA),
		logDir: c.directory("HERD_LOG_DIR", e.LogDir), opsListen: e.OpsListen,
		limits: node.Limits{
			// A record of the longest line must fit the messages that a stock NATS
			// server takes, 1 MB.
			Line:    c.number("HERD_MAX_LINE", e.MaxLine, 64, 256<<10),
			Conns:   c.number("HERD_MAX_CONNS", e.MaxConns, 1, 1<<31-1),
			Clients: c.number("HERD_MAX_CLIENTS", e.MaxClients, 1, 1<<31-1),
			Idle:    c.duration("HERD_IDLE_TIMEOUT", e.IdleTimeout, time.Millisecond),
			Write:   c.duration("HERD_WRITE_TIMEOUT", e.WriteTimeout, time.Millisecond),
		},
	}
	s.repair = c.duration("HERD_REPAIR", e.Repair, 0)
	var err error
	if s.graph, err = topology.Load(e.Topology); err != nil {
		c.fault("HERD_TOPOLOGY", "%s", strings.ReplaceAll(err.Error(), "\n", "; "))
	}
	s.listen = c.address("HERD_LISTEN", e.Listen)
	s.natsListen = c.address("HERD_NATS_LISTEN", e.NatsListen)
	if e.OpsListen != "off" {
		c.address("HERD_OPS_LISTEN", e.OpsListen)
	}
	s.natsURLs = c.urls("HERD_NATS_URL", e.NatsURL)
	if e.NatsSeed != "" && e.NatsCreds != "" {
		c.fault("HERD_NATS_SEED", "give either a seed or HERD_NATS_CREDS")
	}
	if c.pair("HERD_NATS_CERT", e.NatsCert, "HERD_NATS_KEY", e.NatsKey) != nil {
		s.cert, s.key = e.NatsCert, e.NatsKey
	}
	if pair := c.pair("HERD_TLS_CERT", e.TLSCert, "HERD_TLS_KEY", e.TLSKey); pair != nil {
		s.clientTLS = &tls.Config{Certificates: []tls.Certificate{*pair}}
	}
	if s.prefix = bus.Prefix(e.Prefix); !subjectToken.MatchString(e.Prefix) {
		c.fault("HERD_PREFIX", "%q is no subject token: ASCII letters, digits, _ and -", e.Prefix)
	} else if strings.HasPrefix(e.Prefix, "_") {
		// All servers may speak on _R_.>, to answer tools: with _R_, on any edge.
		c.fault("HERD_PREFIX", "%q is no first token of subjects for a herd: NATS keeps for itself what begins with _", e.Prefix)
	}
	if err := s.logLevel.UnmarshalText([]byte(e.LogLevel)); err != nil {
		c.fault("HERD_LOG_LEVEL", "%q is none of debug, info, warn, error", e.LogLevel)
	}
	s.journal, s.dataDir = c.journal(e.Journal, e.DataDir)
	s.places, s.placesBudget = c.places(e)
	return s
}

// journalKind is what HERD_JOURNAL says.
type journalKind string

const (
	journalOff  journalKind = "off"
	journalAck  journalKind = "ack"
	journalSync journalKind = "sync"
)

func (c *checker) journal(kind, dir string) (journalKind, string) {
	switch k := journalKind(kind); k {
	case journalOff:
	case journalAck, journalSync:
		if dir == "" {
			c.fault("HERD_JOURNAL", "%s needs HERD_DATA_DIR", kind)
		}
		return k, c.directory("HERD_DATA_DIR", dir)
	default:
		c.fault("HERD_JOURNAL", "%q is none of off, ack, sync", kind)
	}
	return journalOff, dir
}

var subjectToken = regexp.MustCompile(`^[A-Za-z0-9_-]+$`)

func (c *checker) fault(name, format string, args ...any) {
	c.faults = append(c.faults, fmt.Errorf(name+": "+format, args...))
}

func (c *checker) number(name, value string, least, most int) int {
	n, err := strconv.Atoi(value)
	if err != nil || n < least || n > most {
		c.fault(name, "%q is no whole number from %d to %d", value, least, most)
	}
	return n
}

func (c *checker) duration(name, value string, least time.Duration) time.Duration {
	d, err := time.ParseDuration(value)
	if err != nil || d < least {
		c.fault(name, "%q is no duration such as 30s or 10m of at least %v", value, least)
	}
	return d
}

// address checks a host:port to listen at; "" is fine.
func (c *checker) address(name, value string) string {
	if value == "" {
		return ""
	}
	_, port, err := net.SplitHostPort(value)
	if err == nil {
		_, err = strconv.ParseUint(port, 10, 16)
	}
	if err != nil {
		c.fault(name, "%q is no address such as 127.0.0.1:12000", value)
	}
	return value
}

func (c *checker) urls(name, value string) (urls []string) {
	if value == "" {
		return nil
	}
	for raw := range strings.SplitSeq(value, ",") {
		raw = strings.TrimSpace(raw)
		full := raw
		if !strings.Contains(raw, "://") {
			full = "nats://" + raw
		}
		u, err := url.Parse(full)
		switch {
		case err != nil || u.Hostname() == "":
			c.fault(name, "%s is no NATS URL such as nats://127.0.0.1:4222", bus.RedactURL(raw))
		case u.Scheme != "nats" && u.Scheme != "tls" && u.Scheme != "ws" && u.Scheme != "wss":
			c.fault(name, "%s: the scheme is none of nats, tls, ws, wss", bus.RedactURL(raw))
		}
		urls = append(urls, full)
	}
	return urls
}

// file reads a file; nil where path is "", or on a fault.
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

// seed checks that a file holds an nkey seed. What a directory holds is checked by
// the command that knows whose seeds it needs: hasSeeds.
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

// authority checks that a file holds a certificate.
func (c *checker) authority(name, path string) string {
	if content := c.file(name, path); content != nil && !x509.NewCertPool().AppendCertsFromPEM(content) {
		c.fault(name, "%s holds no certificate in PEM", path)
	}
	return path
}

// directory makes a directory, if need be; "" is fine.
func (c *checker) directory(name, path string) string {
	if path != "" {
		if err := os.MkdirAll(path, 0o700); err != nil {
			c.fault(name, "%w", err)
		}
	}
	return path
}

// pair loads a certificate and its key; nil where neither is given, or on a
// fault.
func (c *checker) pair(certName, cert, keyName, key string) *tls.Certificate {
	if cert == "" && key == "" {
		return nil
	}
	if cert == "" || key == "" {
		c.fault(certName, "needs %s, and the other way round", keyName)
		return nil
	}
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		c.fault(certName, "%w", err)
		return nil
	}
	return &pair
}

// opsAddress is where a process listens for operators, "" for nowhere. place is
// its server's in the topology; 0 for a process with all of them.
func (s settings) opsAddress(place int) string {
	switch s.opsListen {
	case "off":
		return ""
	case "":
		return defaultAddress(opsPort, place)
	}
	return s.opsListen
}

func defaultAddress(port, place int) string { return fmt.Sprintf("127.0.0.1:%d", port+place) }

// busConfig is how to reach the bus at urls as a user: a server, or access.OpsUser.
func (s settings) busConfig(urls []string, user string) natsbus.Config {
	return natsbus.Config{
		URLs: urls, Prefix: s.prefix, Seed: s.seedOf(user), Creds: s.creds, CA: s.ca, Cert: s.cert, Key: s.key,
	}
}

// accessRules is what each user of the bus may do.
func (s settings) accessRules() access.Rules {
	return access.NewRules(access.Config{Graph: s.graph, Prefix: s.prefix, Endpoints: bus.Endpoints})
}

// seedOf is the file with a user's seed: its own where HERD_NATS_SEED is a directory
// that bus-config wrote, else the one there is; "" for none.
func (s settings) seedOf(user string) string {
	if info, err := os.Stat(s.seed); err == nil && info.IsDir() {
		return keydir.SeedFile(s.seed, user)
	}
	return s.seed
}

// hasSeeds checks that a directory of seeds has those of users.
func (c *checker) hasSeeds(s settings, users ...string) {
	for _, user := range users {
		if path := s.seedOf(user); path != s.seed {
			c.seed(path)
		}
	}
}

// clientAddress is where the server at a place in the topology listens for
// clients when it runs together with the others. enoughPorts has seen to it that
// there is such a port.
func (s settings) clientAddress(place int) string {
	if s.listen == "" {
		return defaultAddress(clientPort, place)
	}
	host, port := splitPort(s.listen)
	if port == 0 { // each takes a free one
		return s.listen
	}
	return net.JoinHostPort(host, strconv.Itoa(port+place))
}

// enoughPorts checks that there is a port for each server of the herd.
func enoughPorts(c *checker, s settings) {
	if s.graph == nil || s.listen == "" {
		return
	}
	if _, port := splitPort(s.listen); port > 0 && port+len(s.graph.Servers())-1 > 65535 {
		c.fault("HERD_LISTEN", "%s leaves no port for server %d of the herd", s.listen, 65536-port+1)
	}
}

// isServer checks that name is a server's in the topology.
func (c *checker) isServer(what, name string, s settings) {
	if s.graph != nil && s.graph.Index(name) < 0 {
		c.faults = append(c.faults, fmt.Errorf("%s: %q is no server of topology %s, which has %s",
			what, name, s.topology, strings.Join(s.graph.Servers(), ", ")))
	}
}

// splitPort splits an address that has been checked.
func splitPort(address string) (host string, port int) {
	host, text, _ := net.SplitHostPort(address)
	port, _ = strconv.Atoi(text)
	return host, port
}
