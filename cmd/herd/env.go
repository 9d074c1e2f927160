package main

import (
	"bytes"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/kelseyhightower/envconfig"

	"herd/bus"
	"herd/places/stack"
)

const envPrefix = "HERD"

// environment is the environment as it was given; settings (config.go) is what it
// means. Only names that begin with HERD_ are read: no field has an `envconfig`
// tag, which would make envconfig look for the bare name too.
type environment struct {
	Topology string `default:"goloman" desc:"goloman, riley, an edge list A-B,B-C, or a file of edges where it holds a /"`
	Name     string `desc:"serve: this server's name, if the command line gives none"`
	Listen   string `desc:"clients' TCP address: up, the first server's, the others take the ports after it; serve, this server's; unset: 127.0.0.1, 12000 and on in the topology's order"`

	NatsURL    string `split_words:"true" desc:"NATS URLs, comma-separated; unset: up embeds a NATS server, serve uses nats://127.0.0.1:4222"`
	NatsListen string `split_words:"true" default:"127.0.0.1:4222" desc:"where up's embedded NATS server listens, for taps too: without a key all can be read there, and nothing said; port 0 takes a free one"`
	NatsSeed   string `split_words:"true" desc:"file with this server's nkey seed for NATS, or the directory that bus-config wrote"`
	NatsCreds  string `split_words:"true" desc:"NATS credentials file"`
	NatsCA     string `split_words:"true" desc:"file with the CA of NATS's certificate"`
	NatsCert   string `split_words:"true" desc:"file with our certificate towards NATS"`
	NatsKey    string `split_words:"true" desc:"file with its key"`
	Prefix     string `default:"herd" desc:"first token of every subject"`

	LogLevel  string `split_words:"true" default:"info" desc:"of the log on standard error: debug, info, warn, error"`
	LogDir    string `split_words:"true" desc:"directory for <server>.log, each server's input and output"`
	OpsListen string `split_words:"true" desc:"HTTP for operators: /healthz, /readyz, /metrics, on loopback /debug/pprof/; unset: 127.0.0.1:12080, with serve plus the server's place in the topology; off"`

	DataDir string `split_words:"true" desc:"directory for this process's journals, one in a directory for each server"`
	Journal string `default:"off" desc:"off; ack: a reply leaves after its record is in the journal; sync: and on the disk"`
	Repair  string `default:"30s" desc:"how often neighbours compare maps, beside the times they must; 0 turns all repair off"`

	Places        string `default:"gazetteer" desc:"sources of places, comma-separated; the next is asked when one fails: gazetteer (built in, offline), google, google-new, overpass"`
	PlacesURL     string `split_words:"true" desc:"another base URL of the one web source in HERD_PLACES; of several, overpass=https://…,google=https://…; overpass needs one"`
	PlacesKey     string `split_words:"true" secret:"true" desc:"API key of google and google-new"`
	PlacesKeyFile string `split_words:"true" desc:"file with that key"`
	PlacesBudget  string `split_words:"true" desc:"calls a day that the whole herd may spend on each web source; each server has its share; unset: no bound"`
	PlacesRatings string `split_words:"true" default:"off" desc:"google-new: on asks for ratings, prices and opening hours too, which makes each call dearer"`

	TLSCert string `split_words:"true" desc:"file with the certificate of the clients' port: TLS, if given"`
	TLSKey  string `split_words:"true" desc:"file with its key"`

	MaxLine      string `split_words:"true" default:"8192" desc:"bytes of a client's line, 64 to 262144"`
	MaxConns     string `split_words:"true" default:"50000" desc:"clients connected to a server; half as many from one address that is not loopback"`
	MaxClients   string `split_words:"true" default:"5000000" desc:"clients in the map, beyond which a server refuses new ones"`
	IdleTimeout  string `split_words:"true" default:"10m" desc:"how long a client may send no complete line"`
	WriteTimeout string `split_words:"true" default:"10s" desc:"how long a client may take no reply"`
}

// readEnvironment reads the environment. A variable set to nothing counts as not
// set. Unknown names are returned as faults.
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
			if err := os.Unsetenv(name); err != nil { // envconfig would take it for the value
				return e, nil, err
			}
		case !known[name] && !setByKubernetes.MatchString(name):
			faults = append(faults, fmt.Errorf("%s is not a variable of herd's: herd env lists them", name))
		}
	}
	slices.SortFunc(faults, func(a, b error) int { return strings.Compare(a.Error(), b.Error()) })
	err = envconfig.Process(envPrefix, &e)
	return e, faults, err
}

// setByKubernetes matches what Kubernetes sets for a service whose name begins
// with "herd", or is that.
var setByKubernetes = regexp.MustCompile(`^HERD_(.*_)?(SERVICE_HOST|SERVICE_PORT(_.*)?|PORT|PORT_[0-9]+_.*)$`)

// variable is one environment variable, as envconfig knows it.
type variable struct {
	name, fallback, meaning string
	secret                  bool
}

// variables lists the fields of environment, in their order.
func variables() (all []variable) {
	const format = `{{range .}}{{usage_key .}}{{"\t"}}{{usage_default .}}{{"\t"}}{{usage_description .}}{{"\t"}}{{.Tags.Get "secret"}}{{"\n"}}{{end}}`
	var listing bytes.Buffer
	if err := envconfig.Usagef(envPrefix, &environment{}, &listing, format); err != nil {
		panic(err) // the template and the struct are constants
	}
	for line := range strings.Lines(listing.String()) {
		f := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
		all = append(all, variable{f[0], f[1], f[2], f[3] == "true"})
	}
	return all
}

type envCommand struct{}

// Run prints the environment, also a faulty one, whose faults it returns.
func (envCommand) Run(c console) error {
	_, err := loadSettings()
	w := tabwriter.NewWriter(c.Out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "NAME\tDEFAULT\tVALUE\tMEANING")
	for _, v := range variables() {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", v.name, orDash(v.fallback), orDash(v.shown(os.Getenv(v.name))), v.meaning)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	return err
}

// shown is the variable's value as it may be shown.
func (v variable) shown(value string) string {
	switch {
	case value == "":
		return v.fallback
	case v.secret:
		return "set"
	case v.name == "HERD_PLACES_URL":
		return stack.RedactURLs(value)
	case v.name == "HERD_NATS_URL":
		return bus.RedactURLs(strings.Split(value, ","))
	}
	return value
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}
