package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"

	"herd/bus/access"
)

type busConfigCommand struct {
	Dir     string   `arg:"" help:"Directory for the configuration and the keys."`
	Listen  string   `default:"127.0.0.1:4222" help:"Where the broker listens; in a cluster on one host, the first: the others take the ports after it."`
	Apart   string   `help:"Put each server's key and each broker's configuration, alone, into a directory of its own below this one as well: DIR/Welsh/Welsh.nk, DIR/nats/nats.conf." placeholder:"DIR"`
	Monitor string   `default:"127.0.0.1:8222" help:"Where it listens for monitoring over HTTP, in the clear, to whoever comes; off."`
	TLSCert string   `name:"tls-cert" help:"File with the broker's certificate."`
	TLSKey  string   `name:"tls-key" help:"File with its key."`
	TLSCA   string   `name:"tls-ca" help:"File with an authority: whoever connects must have a certificate of it."`
	Routes  bool     `help:"Write the three files of a NATS cluster."`
	Hosts   []string `help:"The cluster's three hosts, as its brokers reach each other. Without, all are on one." placeholder:"A,B,C"`
	Name    string   `default:"herd" help:"The cluster's name, with which those of its brokers begin; another for each region."`
	Cluster string   `default:"127.0.0.1:6222" help:"Where a broker of a cluster listens for the others; ports as with --listen."`
}

const (
	clusterSize = 3
	soleConf    = "nats.conf"
	clusterUser = "broker"
	// confMark begins each file that is ours to write over.
	confMark = "# Written by herd bus-config"
)

// broker is one configuration to be written.
type broker struct {
	file string
	access.Broker
}

// Run writes a broker's configuration, or a cluster's, with what keys are lacking.
func (b busConfigCommand) Run(c console) error {
	s, err := loadSettings()
	if err != nil {
		return err
	}
	brokers, err := b.brokers()
	if err != nil {
		return usageError{err}
	}
	rules := s.accessRules()
	if b.Apart != "" && slices.Contains(s.graph.Servers(), apartName(soleConf)) {
		return fmt.Errorf("bus-config: --apart: a server can't be named %s: the broker's directory is", apartName(soleConf))
	}
	if name := rules.Clash(); name != "" {
		return fmt.Errorf("bus-config: a server can't be named %s: %s%s holds the key of the operators, and %s%s that of the broker's", name,
			access.OpsUser, seedExt, access.SystemUser, seedExt)
	}
	did, err := b.write(s, rules, brokers)
	if err != nil {
		return fmt.Errorf("bus-config: %w", err)
	}
	if b.Apart != "" {
		if err := putApart(b.Dir, b.Apart, rules, brokers, did); err != nil {
			return fmt.Errorf("bus-config: --apart: %w; run it again", err)
		}
	}
	b.tell(c.Out, s, brokers, did)
	if !loopback(b.Listen) && b.TLSCert == "" {
		fmt.Fprintln(c.Err, "herd: bus-config: the broker can be reached from outside without TLS: keys stay secret all the same, and what is said does not (--tls-cert, --tls-key)")
	}
	return nil
}

// brokers is what is to be written, but for the password of a cluster.
func (b busConfigCommand) brokers() ([]broker, error) {
	var c checker
	c.address("--listen", b.Listen)
	c.address("--cluster", b.Cluster)
	if b.Monitor == "off" {
		b.Monitor = ""
	}
	c.address("--monitor", b.Monitor)
	tlsFiles := b.tls(&c)
	if !subjectToken.MatchString(b.Name) {
		c.fault("--name", "%q is not of ASCII letters, digits, _ and -", b.Name)
	}
	switch {
	case len(b.Hosts) > 0 && !b.Routes:
		c.fault("--hosts", "is for --routes")
	case len(b.Hosts) > 0 && len(b.Hosts) != clusterSize:
		c.fault("--hosts", "a cluster has %d brokers, and these are %d hosts", clusterSize, len(b.Hosts))
	case len(b.Hosts) > 0 && (loopback(b.Listen) || loopback(b.Cluster)):
		c.fault("--hosts", "brokers on several hosts don't reach each other on loopback: give --listen and --cluster, such as 0.0.0.0:4222 and 0.0.0.0:6222")
	}
	if err := errors.Join(c.faults...); err != nil {
		return nil, err
	}
	if !b.Routes {
		return []broker{{soleConf, access.Broker{Listen: b.Listen, HTTP: b.Monitor, TLS: tlsFiles}}}, nil
	}
	var brokers []broker
	for i := range clusterSize {
		place := i
		if len(b.Hosts) > 0 {
			place = 0 // of its host
		}
		cluster := &access.Cluster{Name: b.Name, ServerName: fmt.Sprintf("%s-%d", b.Name, i+1), Listen: portAfter(b.Cluster, place), User: clusterUser}
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
		brokers = append(brokers, broker{clusterConf(i), access.Broker{
			Listen: portAfter(b.Listen, place), HTTP: portAfter(b.Monitor, place), TLS: tlsFiles, Cluster: cluster,
		}})
	}
	return brokers, nil
}

func clusterConf(i int) string { return fmt.Sprintf("nats-%d.conf", i+1) }

// portAfter is an address with a port that many after its own; "" and port 0 stay.
func portAfter(address string, more int) string {
	host, port := splitPort(address)
	if port == 0 {
		return address
	}
	return net.JoinHostPort(host, strconv.Itoa(port+more))
}

// tls checks the files and makes their names such as the broker finds from anywhere.
func (b busConfigCommand) tls(c *checker) access.TLS {
	if b.TLSCA != "" && b.TLSCert == "" {
		c.fault("--tls-ca", "needs --tls-cert and --tls-key")
	}
	c.pair("--tls-cert", b.TLSCert, "--tls-key", b.TLSKey)
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

// outcome is what was done to each file, by name.
type outcome map[string]string

// write brings the directory up to date.
func (b busConfigCommand) write(s settings, rules access.Rules, brokers []broker) (outcome, error) {
	unchanged := func(err error) error { return fmt.Errorf("%w; nothing was changed", err) }
	if err := b.oneKind(); err != nil {
		return nil, unchanged(err)
	}
	dir, err := openSeedDir(b.Dir, rules.Users)
	if err != nil {
		return nil, unchanged(err)
	}
	defer dir.close()
	did, gone, err := b.prepare(dir, s, rules, brokers)
	if err != nil {
		return nil, unchanged(err)
	}
	revoked, err := dir.commit(gone)
	if err != nil {
		return nil, fmt.Errorf("%w; run it again", err)
	}
	for user, now := range revoked {
		did[user+seedExt] = "revoked: set aside as " + now
	}
	return did, nil
}

// prepare gets all files ready and returns what becomes of each, and which users are
// no more.
func (b busConfigCommand) prepare(dir *seedDir, s settings, rules access.Rules, brokers []broker) (did outcome, gone []string, err error) {
	did = outcome{}
	keys, created, err := dir.complete(rules)
	if err != nil {
		return nil, nil, err
	}
	for _, u := range rules.Users {
		did[u.Name+seedExt] = "kept"
		if slices.Contains(created, u.Name) {
			did[u.Name+seedExt] = "a new key"
		}
	}
	public, err := keys.Public()
	if err != nil {
		return nil, nil, err
	}
	mode := os.FileMode(0o644)
	var password string
	if b.Routes {
		mode = 0o600 // they hold the password
		if password, err = dir.password(); err != nil {
			return nil, nil, err
		}
	}
	var before strings.Builder
	for _, one := range brokers {
		if one.Cluster != nil {
			one.Cluster.Password = password
		}
		old, err := readConf(filepath.Join(b.Dir, one.file))
		if err != nil {
			return nil, nil, err
		}
		before.WriteString(old)
		text := b.header(s) + rules.Conf(one.Broker, public)
		did[one.file] = "unchanged"
		if text != old {
			did[one.file] = "written"
			if err := dir.put(one.file, []byte(text), mode); err != nil {
				return nil, nil, err
			}
		}
	}
	gone, err = dir.gone(rules, before.String())
	return did, gone, err
}

// gone is the users that the configuration before knew and the rules don't.
func (d *seedDir) gone(rules access.Rules, before string) (gone []string, err error) {
	public, err := d.keys.Public()
	if err != nil {
		return nil, err
	}
	for name, key := range public {
		if strings.Contains(before, key) && !slices.ContainsFunc(rules.Users, func(u access.User) bool { return u.Name == name }) {
			gone = append(gone, name)
		}
	}
	slices.Sort(gone)
	return gone, nil
}

// oneKind checks that the directory does not hold the configuration of the other
// kind, which would go on letting in whom this one does not.
func (b busConfigCommand) oneKind() error {
	if b.Routes && exists(filepath.Join(b.Dir, soleConf)) {
		return fmt.Errorf("%s holds the configuration of a single broker, %s: name another directory, or move that file away", b.Dir, soleConf)
	}
	if !b.Routes && exists(filepath.Join(b.Dir, clusterConf(0))) {
		return fmt.Errorf("%s holds the configuration of a cluster: give --routes, name another directory, or move its files away", b.Dir)
	}
	return nil
}

// readConf reads what an earlier run wrote; "" where there is none.
func readConf(path string) (string, error) {
	if !exists(path) {
		return "", nil
	}
	content, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	if !strings.HasPrefix(string(content), confMark) {
		return "", fmt.Errorf("%s is not of bus-config's making: move it away, or name another directory", path)
	}
	return string(content), nil
}

// header says whose file it is and how it came about.
func (b busConfigCommand) header(s settings) string {
	command := []string{"HERD_TOPOLOGY=" + shellWord(s.topology)}
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
	if b.Routes {
		command = append(command, "--routes", "--name="+shellWord(b.Name), "--cluster="+shellWord(b.Cluster))
	}
	if len(b.Hosts) > 0 {
		command = append(command, "--hosts="+shellWord(strings.Join(b.Hosts, ",")))
	}
	return confMark + `, and written anew each time: settings of your own go into a
# file that includes this one. It came of
#
#   ` + strings.Join(command, " ") + ` DIR

`
}

// tell says what was written and how to use it.
func (b busConfigCommand) tell(out io.Writer, s settings, brokers []broker, did outcome) {
	fmt.Fprintf(out, "%s, for herd %s\n\n", b.Dir, s.topology)
	w := tabwriter.NewWriter(out, 2, 0, 2, ' ', 0)
	var files []string
	for file := range did {
		files = append(files, file)
	}
	slices.Sort(files)
	for _, file := range files {
		fmt.Fprintf(w, "  %s\t%s\n", file, did[file])
	}
	w.Flush()
	if b.Apart != "" {
		fmt.Fprintf(out, "\nEach server's key and each broker's configuration, alone: %s\n", shellWord(filepath.Join(b.Apart, "*")))
	}

	fmt.Fprint(out, "\nStart the broker, or let one that runs read it again; who keeps its rights stays connected:\n\n")
	var urls []string
	for i, one := range brokers {
		fmt.Fprintf(out, "  nats-server -c %s\n", shellWord(filepath.Join(b.Dir, one.file)))
		urls = append(urls, "nats://"+b.reach(i, one))
	}
	reload := "reload"
	if len(brokers) > 1 && len(b.Hosts) == 0 {
		reload = "'reload=*'" // nats-server wants to be told that all of this machine's are meant
	}
	fmt.Fprint(out, "  nats-server --signal "+reload+"\n\nServers and operators come with their keys; a server needs no other's:\n\n")
	at, tool := "HERD_NATS_URL="+strings.Join(urls, ","), "nats --server "+urls[0]
	if b.TLSCert != "" {
		at, tool = at+" HERD_NATS_CA=…", tool+" --tlsca …"
	}
	if b.TLSCA != "" {
		at, tool = at+" HERD_NATS_CERT=… HERD_NATS_KEY=…", tool+" --tlscert … --tlskey …"
	}
	first := s.graph.Servers()[0]
	fmt.Fprintf(out, "  %s HERD_NATS_SEED=%s herd serve %s\n", at, shellWord(seedFile(b.Dir, first)), first)
	fmt.Fprintf(out, "  %s HERD_NATS_SEED=%s herd status\n", at, shellWord(seedFile(b.Dir, access.OpsUser)))
	fmt.Fprintf(out, "  %s --nkey %s sub '%s.>'\n", tool, shellWord(seedFile(b.Dir, access.OpsUser)), s.prefix)
	fmt.Fprintf(out, "  %s --nkey %s server list\n", tool, shellWord(seedFile(b.Dir, access.SystemUser)))
}

// reach is where a broker is reached from elsewhere.
func (b busConfigCommand) reach(i int, one broker) string {
	host, port := splitPort(one.Listen)
	if len(b.Hosts) > 0 {
		host = b.Hosts[i]
	} else if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return net.JoinHostPort(host, strconv.Itoa(port))
}

// shellWord is a word as a shell takes it.
func shellWord(s string) string {
	plain := func(c rune) bool {
		return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.ContainsRune("_-./:,+@%=", c)
	}
	if s != "" && strings.IndexFunc(s, func(c rune) bool { return !plain(c) }) < 0 {
		return s
	}
	return "'" + strings.ReplaceAll(strings.ReplaceAll(s, "\n", " "), "'", `'\''`) + "'"
}
