package main

import (
	"bytes"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"

	"github.com/kelseyhightower/envconfig"

	"herd/bus/printable"
	"herd/bus/topology"
	"herd/places/stack"
)

const envPrefix = "HERD"

// environment is the environment as text; settings is its meaning. Only names that
// begin with HERD_ are read: no field has an `envconfig` tag, since envconfig would
// then also read the name without the prefix. The tag for has the commands that a variable
// affects; desc is its meaning, of which the part before the first semicolon stands for itself.
type environment struct {
	Topology string `default:"goloman" for:"up serve ask get near follow dump restore forget status reload watch load topology bus-config healthcheck" desc:"goloman, riley, A-B,B-C, or a file such as ./edges; a file has one edge per line; any other single name is a herd of one server"`
	Name     string `for:"serve ask healthcheck" desc:"name of the server, unless it is on the command line"`
	Listen   string `for:"up serve ask load" desc:"TCP address for clients; serve: of this server; up: of the first server, the others take the next ports; default: 127.0.0.1, port 12000 plus the server's index in the topology"`

	NatsURL    string `split_words:"true" for:"up serve get near follow dump restore forget status reload watch" desc:"NATS URLs, comma-separated; default: up embeds a NATS server, other commands use nats://127.0.0.1:4222"`
	NatsListen string `split_words:"true" default:"127.0.0.1:4222" for:"up" desc:"address of the embedded NATS server; clients without a key can read everything and send requests that change nothing; port 0 chooses a free port"`
	NatsSeed   string `split_words:"true" secret:"path" for:"up serve get near follow dump restore forget status reload watch" desc:"file with the nkey seed, or directory of bus-config; from the directory each server takes its own file, and tools ops.nk or, if it is not there and they change nothing, guest.nk"`
	NatsCreds  string `split_words:"true" secret:"path" for:"up serve get near follow dump restore forget status reload watch" desc:"NATS credentials file"`
	NatsCA     string `split_words:"true" secret:"path" for:"up serve get near follow dump restore forget status reload watch" desc:"file with the CA certificate of the NATS server"`
	NatsCert   string `split_words:"true" secret:"path" for:"up serve get near follow dump restore forget status reload watch" desc:"file with the client certificate for NATS"`
	NatsKey    string `split_words:"true" secret:"path" for:"up serve get near follow dump restore forget status reload watch" desc:"file with the key of that certificate"`
	Prefix     string `default:"herd" for:"up serve get near follow dump restore forget status reload watch bus-config" desc:"first token of every subject"`

	LogLevel  string `split_words:"true" default:"info" for:"up serve" desc:"level of the log on standard error; debug, info, warn or error; if it is unset, up on a terminal logs warnings and errors only"`
	LogDir    string `split_words:"true" for:"up serve" desc:"directory for traffic logs; <server>.log records all input and output of a server"`
	OpsListen string `split_words:"true" for:"up serve healthcheck" desc:"HTTP address for operators; /healthz, /readyz, /metrics, and /debug/pprof/ on loopback; default: 127.0.0.1, port 12080, with serve plus the server's index in the topology; off disables it"`

	WatchListen string `split_words:"true" default:"127.0.0.1:12090" for:"watch" desc:"HTTP address of the page of herd watch; that of herd up is at HERD_OPS_LISTEN"`
	WatchHosts  string `split_words:"true" for:"up watch" desc:"further hosts of the page, comma-separated; names at which browsers may ask for it, in addition to localhost and IP addresses, such as herd.example.com behind a reverse proxy"`

	DataDir string `split_words:"true" for:"up serve" desc:"directory for the journals of this process; a subdirectory per server; up also writes the operators' key of the embedded NATS server to it, ops.nk"`
	Journal string `default:"off" for:"up serve" desc:"off, ack or sync; ack: reply after the record is in the journal; sync: reply after the journal is on the disk"`
	Repair  string `default:"30s" for:"up serve" desc:"interval of comparing maps with neighbours; in addition to comparisons after a gap or a reconnect; 0 disables all repair"`
	Keep    string `for:"up serve" desc:"forget a client that has not reported for this time; 1m or more; all servers of a herd should have the same value; default: never"`

	Places        string `default:"gazetteer" for:"up serve watch" desc:"sources of places, comma-separated; tried in this order: gazetteer (built in, offline), google, google-new, overpass"`
	PlacesURL     string `split_words:"true" for:"up serve watch" desc:"base URL of the web source in HERD_PLACES; or of several: overpass=https://…,google=https://…; required for overpass; write a comma within a URL as %2C"`
	PlacesKey     string `split_words:"true" secret:"true" for:"up serve watch" desc:"API key of google and google-new"`
	PlacesKeyFile string `split_words:"true" secret:"path" for:"up serve watch" desc:"file with that key"`
	PlacesBudget  string `split_words:"true" for:"up serve watch" desc:"maximum calls per day to each web source of places; of the whole herd, divided among the servers; default: unlimited"`
	PlacesRatings string `split_words:"true" default:"off" for:"up serve watch" desc:"on: google-new also returns ratings; and prices and opening hours, which makes calls more expensive"`

	TLSCert string `split_words:"true" secret:"path" for:"up serve" desc:"file with the certificate of the client port; enables TLS"`
	TLSKey  string `split_words:"true" secret:"path" for:"up serve" desc:"file with the key of that certificate"`

	TLSClientCA   string `split_words:"true" secret:"path" for:"up serve" desc:"file with the CA certificates of clients; clients must then present a certificate of one of them; requires HERD_TLS_CERT"`
	TLSBindID     string `split_words:"true" default:"false" for:"up serve" desc:"true: a client reports as its certificate's name only; that is its first DNS name or else its common name; requires HERD_TLS_CLIENT_CA"`
	TLSBindExcept string `split_words:"true" for:"up serve" desc:"certificates that may report as any client; names, comma-separated, such as a gateway's; requires HERD_TLS_BIND_ID"`
	ProxyProtocol string `split_words:"true" default:"off" for:"up serve" desc:"networks of proxies, comma-separated; such as 10.0.0.0/8,192.168.1.7: their connections must begin with a PROXY protocol header, v1 or v2, and the client's address is the one in it; off: none"`

	MaxLine      string `split_words:"true" default:"8192" for:"up serve" desc:"maximum length of a client's line in bytes; 64 to 262144"`
	MaxConns     string `split_words:"true" default:"50000" for:"up serve" desc:"maximum client connections of a server; half as many from one address, loopback excepted"`
	MaxConnRate  string `split_words:"true" default:"100/s" for:"up serve" desc:"maximum new connections per second from one address; loopback excepted; an IPv6 /64 is one address; 0: no limit"`
	MaxClients   string `split_words:"true" default:"5000000" for:"up serve" desc:"maximum clients in the map; a server refuses further clients"`
	MaxMapBytes  string `split_words:"true" for:"up serve" desc:"maximum memory of a server's map; in bytes or as 300MiB, 2GB; at this size it takes no new clients, also not from neighbours; default: half of the memory (the smallest of GOMEMLIMIT, the cgroup's limit and the machine's memory), shared among the servers of the process"`
	IdleTimeout  string `split_words:"true" default:"10m" for:"up serve" desc:"disconnect a client that sends no line for this time"`
	WriteTimeout string `split_words:"true" default:"10s" for:"up serve" desc:"disconnect a client that takes no reply for this time"`

	HandshakeTimeout string `split_words:"true" default:"10s" for:"up serve" desc:"maximum time for a TLS handshake and a PROXY header; clients that take longer are disconnected"`
}

// readEnvironment reads the environment. An empty variable counts as unset. Unknown
// names are returned as faults.
func readEnvironment() (e environment, faults []error, err error) {
	known := map[string]bool{}
	for _, v := range variables() {
		known[v.name] = true
	}
	for _, pair := range os.Environ() {
		name, value, _ := strings.Cut(pair, "=")
		switch {
		case !strings.HasPrefix(name, envPrefix+"_"):
		case value == "":
			if err := os.Unsetenv(name); err != nil { // envconfig would use the empty value
				return e, nil, err
			}
		case !known[name] && !notOurs.MatchString(name):
			faults = append(faults, fmt.Errorf("%s is not a known variable%s: herd env lists all", name, didYouMean(name)))
		}
	}
	slices.SortFunc(faults, func(a, b error) int { return strings.Compare(a.Error(), b.Error()) })
	err = envconfig.Process(envPrefix, &e)
	return e, faults, err
}

// notOurs matches the variables that are for others than this program: those that
// Kubernetes sets for a service named herd, or with a name that begins with "herd-"; the name
// of the image, for Docker Compose; and those of this project's tests.
var notOurs = regexp.MustCompile(`^HERD_((.*_)?(SERVICE_HOST|SERVICE_PORT(_.*)?|PORT|PORT_[0-9]+_.*)|IMAGE|TEST_.*)$`)

// didYouMean suggests the variable whose name is most like an unknown one, if any is.
func didYouMean(name string) string {
	var names []string
	for _, v := range variables() {
		names = append(names, v.name)
	}
	return suggest(name, names)
}

// suggest is a question for the candidate that is most like a word; "" if none is.
func suggest(word string, candidates []string) string {
	const most = 2 // letters that may differ, whatever their case
	best, suggestion := min(most, len(word)-1)+1, ""
	for _, candidate := range candidates {
		if d := topology.Distance(strings.ToUpper(word), strings.ToUpper(candidate)); d < best {
			best, suggestion = d, " (did you mean "+candidate+"?)"
		}
	}
	return suggestion
}

// variable is one environment variable.
type variable struct {
	name, fallback, meaning string
	// secret is "true" for a secret, and "path" for the path of a file. Somebody may have
	// set the content of the file instead, which may be a secret.
	secret string
	// commands are the commands that it affects.
	commands []string
}

// brief is the meaning in a few words.
func (v variable) brief() string {
	brief, _, _ := strings.Cut(v.meaning, ";")
	return brief
}

// variables returns the variables in the order of the fields of environment.
func variables() (all []variable) {
	const format = `{{range .}}{{usage_key .}}{{"\t"}}{{usage_default .}}{{"\t"}}{{usage_description .}}{{"\t"}}{{.Tags.Get "secret"}}{{"\t"}}{{.Tags.Get "for"}}{{"\n"}}{{end}}`
	var listing bytes.Buffer
	if err := envconfig.Usagef(envPrefix, &environment{}, &listing, format); err != nil {
		panic(err) // the template and the struct are constants
	}
	for line := range strings.Lines(listing.String()) {
		f := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
		all = append(all, variable{f[0], f[1], f[2], f[3], strings.Fields(f[4])})
	}
	return all
}

type envCommand struct{}

// Run prints the environment, even if it is invalid, and returns its faults.
func (envCommand) Run(c console) error {
	_, err := loadSettings(func(c *checker, s settings) { c.hasSeeds(s) })
	rows := [][]string{{"NAME", "DEFAULT", "VALUE", "MEANING"}}
	for _, v := range variables() {
		rows = append(rows, []string{v.name, orDash(v.fallback), orDash(v.display(os.Getenv(v.name))), v.meaning})
	}
	if _, err := fmt.Fprint(c.Out, formatTable(rows, terminalWidth(c.stdout))); err != nil {
		return err
	}
	return err
}

// display returns the value without secrets.
func (v variable) display(value string) string {
	switch {
	case value == "":
		return v.fallback
	case v.secret == "true":
		return "set"
	case v.secret == "path" && !isPath(value):
		return "(no such file)"
	case v.name == "HERD_PLACES_URL":
		return stack.RedactURLs(value)
	case v.name == "HERD_NATS_URL":
		return redactNATSURLs(value)
	}
	return printable.Line(value)
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}
