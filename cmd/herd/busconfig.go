package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"herd/bus/access"
	"herd/bus/access/keydir"
	"herd/bus/plural"
)

type busConfigCommand struct {
	Dir     string   `arg:"" optional:"" default:"keys" help:"Directory for the configuration and the keys (default: keys)."`
	Listen  string   `default:"127.0.0.1:4222" help:"Address that the broker listens on. In a cluster on one host: of the first broker; the others take the next ports."`
	Apart   string   `help:"Also copy each server's key and each broker's configuration to a directory of its own below TARGET: TARGET/Welsh/Welsh.nk, TARGET/nats/nats.conf." placeholder:"TARGET"`
	Monitor string   `default:"127.0.0.1:8222" help:"Address of the broker's HTTP monitoring, which is neither encrypted nor authenticated; off disables it."`
	TLSCert string   `name:"tls-cert" placeholder:"FILE" help:"File with the broker's certificate."`
	TLSKey  string   `name:"tls-key" placeholder:"FILE" help:"File with the key of that certificate."`
	TLSCA   string   `name:"tls-ca" placeholder:"FILE" help:"File with a CA certificate. Clients must then present a certificate that it has signed."`
	Routes  bool     `help:"Write the three configurations of a NATS cluster."`
	Hosts   []string `help:"The three hosts of the cluster, as the brokers reach each other. Default: all brokers are on this host." placeholder:"A,B,C"`
	Name    string   `default:"herd" help:"Name of the broker. With --routes, name of the cluster and prefix of its brokers' names: use one name per region."`
	Replace bool     `help:"Revoke the keys of servers that the topology lacks, also if most are gone."`
	Cluster string   `default:"127.0.0.1:6222" help:"Address that a broker listens on for the other brokers; ports as for --listen."`
}

const (
	// clusterSize is the number of brokers of a cluster.
	clusterSize = 3
	// defaultBrokerName is the default of --name.
	defaultBrokerName = "herd"
)

// Run writes a broker's configuration, or a cluster's, and the keys that are missing.
func (b busConfigCommand) Run(c console) error {
	s, err := loadSettings()
	if err != nil {
		return err
	}
	brokers, err := b.brokers()
	if err != nil {
		return usageError{err}
	}
	cfg := keydir.Config{Dir: b.Dir, SplitDir: b.Apart, Replace: b.Replace, Rules: s.accessRules(s.graph), Brokers: brokers, Command: b.commandLine(s)}
	files, err := keydir.Write(cfg)
	if err != nil {
		return fmt.Errorf("bus-config: %w", err)
	}
	report, err := b.report(s, cfg, files)
	if err != nil {
		return err
	}
	if _, err := io.WriteString(c.Out, report); err != nil {
		return err
	}
	if !loopback(b.Listen) && b.TLSCert == "" && !inContainer() {
		fmt.Fprintln(c.Err, "herd: bus-config: the broker accepts connections from other hosts without TLS: keys stay secret, messages do not (see --tls-cert, --tls-key)")
	}
	return nil
}

// brokers checks the flags and returns the brokers that they describe.
func (b busConfigCommand) brokers() ([]access.Broker, error) {
	var c checker
	c.fixedAddress("--listen", b.Listen)
	c.fixedAddress("--cluster", b.Cluster)
	if b.Monitor == "off" {
		b.Monitor = ""
	} else {
		c.fixedAddress("--monitor", b.Monitor)
	}
	for i, host := range b.Hosts {
		c.host("--hosts", host)
		if slices.Contains(b.Hosts[:i], host) {
			c.fault("--hosts", "%s is named twice: each broker needs a host of its own", host)
		}
	}
	tlsFiles := b.tls(&c)
	if !subjectToken.MatchString(b.Name) {
		c.fault("--name", "%q is malformed: use ASCII letters, digits, _ and -", b.Name)
	}
	switch {
	case len(b.Hosts) > 0 && !b.Routes:
		c.fault("--hosts", "requires --routes")
	case len(b.Hosts) > 0 && len(b.Hosts) != clusterSize:
		c.fault("--hosts", "a cluster has %d brokers, but %s named", clusterSize, plural.Count(len(b.Hosts), "host")+plural.Form(len(b.Hosts), " is", " are"))
	case len(b.Hosts) > 0 && (loopback(b.Listen) || loopback(b.Cluster)):
		c.fault("--hosts", "brokers on different hosts cannot connect to each other on loopback: set --listen and --cluster, for example to 0.0.0.0:4222 and 0.0.0.0:6222")
	}
	if b.Routes && len(b.Hosts) == 0 {
		c.portRange("--listen", b.Listen, clusterSize, "broker")
		c.portRange("--monitor", b.Monitor, clusterSize, "broker")
		c.portRange("--cluster", b.Cluster, clusterSize, "broker")
	}
	if err := errors.Join(c.faults...); err != nil {
		return nil, err
	}
	if !b.Routes {
		return []access.Broker{{Name: b.Name, Listen: b.Listen, HTTP: b.Monitor, TLS: tlsFiles}}, nil
	}
	var brokers []access.Broker
	for i := range clusterSize {
		brokers = append(brokers, b.clusterBroker(i, tlsFiles))
	}
	return brokers, nil
}

// clusterBroker returns broker i of a cluster. On a host of its own a broker uses the
// ports of the flags; on one host, the brokers count up from them.
func (b busConfigCommand) clusterBroker(i int, files access.TLS) access.Broker {
	offset := i
	if len(b.Hosts) > 0 {
		offset = 0
	}
	cluster := &access.Cluster{Name: b.Name, Listen: portAfter(b.Cluster, offset)}
	for other := range clusterSize {
		switch {
		case other == i:
		case len(b.Hosts) > 0:
			_, port := splitPort(b.Cluster)
			cluster.Others = append(cluster.Others, net.JoinHostPort(b.Hosts[other], strconv.Itoa(port)))
		default:
			cluster.Others = append(cluster.Others, portAfter(b.Cluster, other))
		}
	}
	name := fmt.Sprintf("%s-%d", b.Name, i+1)
	return access.Broker{Name: name, Listen: portAfter(b.Listen, offset), HTTP: portAfter(b.Monitor, offset), TLS: files, Cluster: cluster}
}

// portAfter adds n to the port of an address; "" and port 0 stay.
func portAfter(address string, n int) string {
	host, port := splitPort(address)
	if port == 0 {
		return address
	}
	return net.JoinHostPort(host, strconv.Itoa(port+n))
}

// tls checks the files, and makes their paths absolute, since the broker may run in
// another directory.
func (b busConfigCommand) tls(c *checker) access.TLS {
	if b.TLSCA != "" && b.TLSCert == "" {
		c.fault("--tls-ca", "requires --tls-cert and --tls-key")
	}
	c.keyPair("--tls-cert", b.TLSCert, "--tls-key", b.TLSKey)
	c.authority("--tls-ca", b.TLSCA)
	t := access.TLS{Cert: b.TLSCert, Key: b.TLSKey, CA: b.TLSCA}
	for _, path := range []*string{&t.Cert, &t.Key, &t.CA} {
		if *path == "" {
			continue
		}
		absolute, err := filepath.Abs(*path)
		if err != nil {
			c.fault("--tls", "%w", err)
		}
		*path = absolute
	}
	return t
}

// commandLine is a shell command that writes the same configuration.
func (b busConfigCommand) commandLine(s settings) string {
	spec, err := s.absoluteTopology()
	if err != nil { // there is no working directory
		spec = s.topology
	}
	command := []string{"HERD_TOPOLOGY=" + shellWord(spec)}
	if s.prefix != defaultPrefix {
		command = append(command, "HERD_PREFIX="+shellWord(string(s.prefix)))
	}
	command = append(command, "herd bus-config")
	for _, flag := range []struct{ name, value string }{
		{"listen", b.Listen}, {"monitor", b.Monitor}, {"tls-cert", b.TLSCert}, {"tls-key", b.TLSKey}, {"tls-ca", b.TLSCA},
	} {
		if flag.value != "" {
			command = append(command, "--"+flag.name+"="+shellWord(flag.value))
		}
	}
	if b.Routes || b.Name != defaultBrokerName {
		command = append(command, "--name="+shellWord(b.Name))
	}
	if b.Routes {
		command = append(command, "--routes", "--cluster="+shellWord(b.Cluster))
	}
	if len(b.Hosts) > 0 {
		command = append(command, "--hosts="+shellWord(strings.Join(b.Hosts, ",")))
	}
	return strings.Join(append(command, "DIR"), " ")
}

// publicAddress is the address that clients of broker i use.
func (b busConfigCommand) publicAddress(i int, broker access.Broker) string {
	if len(b.Hosts) == 0 {
		return dialable(broker.Listen)
	}
	_, port := splitPort(broker.Listen)
	return net.JoinHostPort(b.Hosts[i], strconv.Itoa(port))
}
