package main

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"regexp"
	"strconv"
	"strings"
	"time"

	"herd/bus"
	"herd/bus/access"
	"herd/bus/access/keydir"
	"herd/bus/natsbus"
	"herd/bus/topology"
	"herd/node"
	"herd/node/status"
	"herd/places/stack"
)

// The default ports of the first server of a herd.
const (
	clientPort = 12000
	opsPort    = 12080
)

const (
	defaultNATS   = "nats://127.0.0.1:4222"
	defaultPrefix = bus.Prefix("herd")
)

// settings is a valid environment. Its methods return the configurations of the
// packages that a process is composed of.
type settings struct {
	topology string // as in the environment
	graph    *topology.Graph
	name     string
	listen   string // "" if unset

	natsURLs   []string // empty if unset
	natsListen string
	seed       string // a file or a key directory: see seedOf
	creds      string
	ca         string
	cert, key  string
	prefix     bus.Prefix

	logLevel  slog.Level
	logDir    string
	opsListen string // "" if unset

	watchListen string
	watchHosts  []string

	clientTLS *clientTLS     // nil if unset
	binding   *node.Binding  // nil if unset
	proxies   []netip.Prefix // of HERD_PROXY_PROTOCOL
	limits    node.Limits
	// defaultConns says that limits.Conns is the default.
	defaultConns bool
	journal      journalMode
	dataDir      string
	repair       time.Duration
	keep         time.Duration // 0 if unset

	places       stack.Config // process.placesConfig completes it
	placesBudget int          // calls a day of the whole herd to each web service, or stack.Unlimited
}

// journalMode is a value of HERD_JOURNAL.
type journalMode string

const (
	journalOff  journalMode = "off"
	journalAck  journalMode = "ack"
	journalSync journalMode = "sync"
)

// loadSettings reads and validates the environment, and runs the additional checks of
// a command. It returns all faults as one usageError, one per line.
func loadSettings(checks ...func(*checker, settings)) (settings, error) {
	env, faults, err := readEnvironment()
	if err != nil {
		return settings{}, err
	}
	c := checker{faults: faults}
	s := c.validate(env)
	for _, check := range checks {
		check(&c, s)
	}
	return s, usageOf(c.faults)
}

// usageOf is a usageError of all faults; nil if there are none.
func usageOf(faults []error) error {
	if err := errors.Join(faults...); err != nil {
		return usageError{err}
	}
	return nil
}

var subjectToken = regexp.MustCompile(`^[A-Za-z0-9_-]+$`)

// validate checks every variable.
func (c *checker) validate(e environment) settings {
	s := settings{
		topology: e.Topology, name: e.Name,
		seed: e.NatsSeed, creds: c.creds(e.NatsCreds), ca: e.NatsCA,
		logDir: e.LogDir, opsListen: e.OpsListen, defaultConns: os.Getenv("HERD_MAX_CONNS") == "",
		limits: node.Limits{
			// A record of the longest line must fit into a message of a nats-server with the
			// default max_payload, 1 MB.
			Line:      c.number("HERD_MAX_LINE", e.MaxLine, 64, 256<<10),
			Conns:     c.number("HERD_MAX_CONNS", e.MaxConns, 1, 1<<31-1),
			ConnRate:  c.perSecond("HERD_MAX_CONN_RATE", e.MaxConnRate),
			Clients:   c.number("HERD_MAX_CLIENTS", e.MaxClients, 1, 1<<31-1),
			MapBytes:  c.bytes("HERD_MAX_MAP_BYTES", e.MaxMapBytes, 4<<10),
			Handshake: c.duration("HERD_HANDSHAKE_TIMEOUT", e.HandshakeTimeout, time.Millisecond),
			Idle:      c.duration("HERD_IDLE_TIMEOUT", e.IdleTimeout, time.Millisecond),
			Write:     c.duration("HERD_WRITE_TIMEOUT", e.WriteTimeout, time.Millisecond),
		},
	}
	c.authority("HERD_NATS_CA", e.NatsCA)
	s.repair = c.duration("HERD_REPAIR", e.Repair, 0)
	s.keep = c.keep("HERD_KEEP", e.Keep)
	var err error
	if s.graph, err = topology.Load(e.Topology); err != nil {
		c.fault("HERD_TOPOLOGY", "%s", strings.ReplaceAll(err.Error(), "\n", "; "))
	} else if err := access.CheckNames(s.graph.Servers()); err != nil {
		c.fault("HERD_TOPOLOGY", "%w", err)
	}
	s.listen = c.address("HERD_LISTEN", e.Listen)
	s.natsListen = c.address("HERD_NATS_LISTEN", e.NatsListen)
	if e.OpsListen != "off" {
		c.address("HERD_OPS_LISTEN", e.OpsListen)
	}
	s.watchListen = c.address("HERD_WATCH_LISTEN", e.WatchListen)
	s.watchHosts = c.hostNames("HERD_WATCH_HOSTS", e.WatchHosts)
	s.natsURLs = c.natsURLs("HERD_NATS_URL", e.NatsURL)
	if e.NatsSeed != "" && e.NatsCreds != "" {
		c.fault("HERD_NATS_SEED", "HERD_NATS_CREDS is set too: set only one of them")
	}
	if c.keyPair("HERD_NATS_CERT", e.NatsCert, "HERD_NATS_KEY", e.NatsKey) != nil {
		s.cert, s.key = e.NatsCert, e.NatsKey
	}
	s.clientTLS, s.binding = c.clientTLS(e)
	s.proxies = c.networks("HERD_PROXY_PROTOCOL", e.ProxyProtocol)
	if s.prefix = bus.Prefix(e.Prefix); !subjectToken.MatchString(e.Prefix) {
		c.fault("HERD_PREFIX", "%q is not a subject token: use ASCII letters, digits, _ and -", e.Prefix)
	} else if strings.HasPrefix(e.Prefix, "_") {
		// Every server may publish on _R_.>, to reply to tools. With the prefix _R_ that
		// would be every edge.
		c.fault("HERD_PREFIX", "%q begins with _, which is reserved for NATS", e.Prefix)
	}
	if err := s.logLevel.UnmarshalText([]byte(e.LogLevel)); err != nil {
		c.fault("HERD_LOG_LEVEL", "%q is not one of debug, info, warn, error", e.LogLevel)
	}
	s.journal, s.dataDir = c.journal(e.Journal, e.DataDir)
	s.places, s.placesBudget = c.places(e)
	return s
}

// clientTLS checks the TLS of the client ports.
func (c *checker) clientTLS(e environment) (*clientTLS, *node.Binding) {
	pair := c.keyPair("HERD_TLS_CERT", e.TLSCert, "HERD_TLS_KEY", e.TLSKey)
	authority := c.authority("HERD_TLS_CLIENT_CA", e.TLSClientCA)
	bind := c.boolean("HERD_TLS_BIND_ID", e.TLSBindID)
	except := c.names("HERD_TLS_BIND_EXCEPT", e.TLSBindExcept)
	if e.TLSClientCA != "" && e.TLSCert == "" {
		c.fault("HERD_TLS_CLIENT_CA", "requires HERD_TLS_CERT and HERD_TLS_KEY")
	}
	if bind && e.TLSClientCA == "" {
		c.fault("HERD_TLS_BIND_ID", "requires HERD_TLS_CLIENT_CA")
	}
	if e.TLSBindExcept != "" && !bind {
		c.fault("HERD_TLS_BIND_EXCEPT", "requires HERD_TLS_BIND_ID=true")
	}
	if pair == nil {
		return nil, nil
	}
	var binding *node.Binding
	if bind {
		binding = &node.Binding{Except: except}
	}
	return newClientTLS(e.TLSCert, e.TLSKey, pair, e.TLSClientCA, authority), binding
}

func (c *checker) journal(mode, dir string) (journalMode, string) {
	switch m := journalMode(mode); m {
	case journalOff:
	case journalAck, journalSync:
		if dir == "" {
			c.fault("HERD_JOURNAL", "%s requires HERD_DATA_DIR", mode)
		}
		return m, dir
	default:
		c.fault("HERD_JOURNAL", "%q is not one of off, ack, sync", mode)
	}
	return journalOff, dir
}

// isServer checks that name is in the topology.
func (c *checker) isServer(what, name string, s settings) {
	if s.graph != nil && s.graph.Index(name) < 0 {
		c.fault(what, "%q is not a server of topology %s, which has %s%s", name, s.topology, strings.Join(s.graph.Servers(), ", "), suggest(name, s.graph.Servers()))
	}
}

// hasSeeds checks HERD_NATS_SEED or, if it is a key directory, the seeds of users in it.
// Commands that do not use it do not check it: bus-config creates the directory.
func (c *checker) hasSeeds(s settings, users ...string) {
	if info, err := os.Stat(s.seed); err != nil || !info.IsDir() {
		c.seed(s.seed)
		return
	}
	for _, user := range users {
		c.seed(s.seedOf(user))
	}
}

// makeDirectories creates the directories of a process that runs servers, if they are
// missing. Other commands create nothing.
func makeDirectories(c *checker, s settings) {
	c.directory("HERD_LOG_DIR", s.logDir)
	if s.journal != journalOff {
		c.directory("HERD_DATA_DIR", s.dataDir)
	}
}

// enoughPorts checks that there is a client port for every server of the herd.
func enoughPorts(c *checker, s settings) {
	if s.graph != nil {
		c.portRange("HERD_LISTEN", s.listen, len(s.graph.Servers()), "server")
	}
}

// opsAddress is the operator HTTP address of a process, "" if it is off. index is that
// of its server in the topology; 0 for a process that runs all of them.
func (s settings) opsAddress(index int) string {
	switch s.opsListen {
	case "off":
		return ""
	case "":
		return defaultAddress(opsPort, index)
	}
	return s.opsListen
}

// clientAddress is the client address of the server with an index in the topology, in
// a process that runs all of them. enoughPorts has checked that the port exists.
func (s settings) clientAddress(index int) string {
	if s.listen == "" {
		return defaultAddress(clientPort, index)
	}
	host, port := splitPort(s.listen)
	if port == 0 { // a free port for each
		return s.listen
	}
	return net.JoinHostPort(host, strconv.Itoa(port+index))
}

// serverAddress is the address at which clients on this host reach a server of the topology:
// where herd up listens, or herd serve in its own environment.
func (s settings) serverAddress(name string) (string, error) {
	address := s.clientAddress(s.graph.Index(name))
	if s.listen != "" && s.name == name {
		address = s.listen
	}
	if _, port := splitPort(address); port == 0 {
		return "", usageError{fmt.Errorf("HERD_LISTEN: port 0 says nothing about the port of %s: give the address that the server printed", name)}
	}
	return dialable(address), nil
}

// dialable is an address to connect to what listens at a valid address: on this host, if it
// listens on all interfaces.
func dialable(address string) string {
	host, port, _ := net.SplitHostPort(address)
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return net.JoinHostPort(host, port)
}

func defaultAddress(port, index int) string { return fmt.Sprintf("127.0.0.1:%d", port+index) }

// busURLs is HERD_NATS_URL, or its default for commands that embed no NATS server.
func (s settings) busURLs() []string {
	if len(s.natsURLs) == 0 {
		return []string{defaultNATS}
	}
	return s.natsURLs
}

// busConfig is the configuration to reach the bus at urls as a user: the name of a
// server, access.OpsUser or access.GuestUser.
func (s settings) busConfig(urls []string, user string) natsbus.Config {
	return natsbus.Config{
		URLs: urls, Prefix: s.prefix, Seed: s.seedOf(user), Creds: s.creds, CA: s.ca, Cert: s.cert, Key: s.key,
	}
}

// readBus is the configuration to reach the bus as the user of commands that change nothing.
func (s settings) readBus() natsbus.Config { return s.busConfig(s.busURLs(), s.readUser()) }

// accessRules is what each user of the bus may do.
func (s settings) accessRules(g *topology.Graph) access.Rules {
	return access.NewRules(access.Config{Graph: g, Prefix: s.prefix, Endpoints: status.Endpoints})
}

// readUser is the user of commands that change nothing: access.OpsUser, or
// access.GuestUser if HERD_NATS_SEED is a key directory that has the seed of guest only.
func (s settings) readUser() string {
	_, noOps := os.Stat(s.seedOf(access.OpsUser))
	_, noGuest := os.Stat(s.seedOf(access.GuestUser))
	if errors.Is(noOps, fs.ErrNotExist) && noGuest == nil {
		return access.GuestUser
	}
	return access.OpsUser
}

// seedOf is the file with the seed of a user: the user's file, if HERD_NATS_SEED is a
// key directory, otherwise HERD_NATS_SEED itself; "" if unset.
func (s settings) seedOf(user string) string {
	if info, err := os.Stat(s.seed); err == nil && info.IsDir() {
		return keydir.SeedFile(s.seed, user)
	}
	return s.seed
}

// splitPort splits a valid address.
func splitPort(address string) (host string, port int) {
	host, text, _ := net.SplitHostPort(address)
	port, _ = strconv.Atoi(text)
	return host, port
}
