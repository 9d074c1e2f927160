package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"herd/bus/access/keydir"
	"herd/bus/topology"
	"herd/node/status"
)

// herdProcesses is a herd with a process per server, and a nats-server.
type herdProcesses struct {
	t          testing.TB
	spec       string // of the graph
	graph      *topology.Graph
	broker     *program
	brokerAt   string
	brokerConf string              // file with the broker's configuration; "" for none
	keys       string              // directory that bus-config has written; "" for none
	relays     map[string]*relay   // between a server and the broker; nil for a direct connection
	env        map[string][]string // further variables of a server
	servers    map[string]*program
	addresses  map[string]string // clients'
}

func startProcesses(t testing.TB, spec string) *herdProcesses {
	t.Helper()
	h := newProcesses(t, spec)
	h.startAll(false)
	return h
}

// newProcesses is a herd that does not run yet.
func newProcesses(t testing.TB, spec string) *herdProcesses {
	t.Helper()
	g, err := topology.Load(spec)
	if err != nil {
		t.Fatal(err)
	}
	return &herdProcesses{t: t, spec: spec, graph: g, relays: map[string]*relay{}, env: map[string][]string{}, servers: map[string]*program{}, addresses: map[string]string{}}
}

// guard makes the broker require keys.
func (h *herdProcesses) guard() {
	h.t.Helper()
	h.keys = h.t.TempDir()
	busConfig(h.t, h.spec, h.keys, "--monitor=off")
	h.brokerConf = filepath.Join(h.keys, keydir.SingleConf)
}

// busEnv is the environment for the bus at an address.
func (h *herdProcesses) busEnv(address string) []string {
	env := []string{"HERD_TOPOLOGY=" + h.spec, "HERD_NATS_URL=nats://" + address}
	if h.keys != "" {
		env = append(env, "HERD_NATS_SEED="+h.keys)
	}
	return env
}

// startAll starts the broker and all servers, and waits until they are in step.
func (h *herdProcesses) startAll(relayed bool) {
	h.t.Helper()
	h.startBroker("127.0.0.1:-1")
	for _, name := range h.graph.Servers() {
		if relayed {
			h.relays[name] = startRelay(h.t, h.brokerAt)
		}
		h.serve(name)
	}
	h.awaitInStep()
}

func (h *herdProcesses) startBroker(address string) {
	h.t.Helper()
	host, port, _ := strings.Cut(address, ":")
	args := []string{"-a", host, "-p", port}
	if h.brokerConf != "" {
		args = append(args, "-c", h.brokerConf)
	}
	h.broker = startAs(h.t, asBroker, nil, args...)
	h.brokerAt = h.broker.stderr.await(h.t, `Listening for client connections on (\S+)`)[1]
}

func (h *herdProcesses) serve(name string) {
	h.t.Helper()
	listen := h.addresses[name]
	if listen == "" {
		listen = "127.0.0.1:0"
	}
	bus := h.brokerAt
	if r := h.relays[name]; r != nil {
		bus = strings.TrimPrefix(r.url(), "nats://")
	}
	env := append(h.busEnv(bus), "HERD_OPS_LISTEN=off", "HERD_LISTEN="+listen)
	h.servers[name] = start(h.t, append(env, h.env[name]...), "serve", name)
	h.addresses[name] = h.servers[name].stderr.await(h.t, `msg=listening .*clients=(\S+)`)[1]
}

// awaitSymptom waits until the log of a server matches a regular expression.
func (h *herdProcesses) awaitSymptom(expression string) {
	h.t.Helper()
	re := regexp.MustCompile(expression)
	eventually(h.t, func() error {
		for _, p := range h.servers {
			if re.MatchString(p.stderr.String()) {
				return nil
			}
		}
		return fmt.Errorf("no server has logged %q", expression)
	})
}

// status is the status of the herd now.
func (h *herdProcesses) status() (status.Herd, error) {
	return newPoller(settings{graph: h.graph, prefix: "herd", natsURLs: []string{"nats://" + h.brokerAt}, seed: h.keys}).poll(context.Background(), askTimeout)
}

// awaitInStep waits until all edges of all servers are in step.
func (h *herdProcesses) awaitInStep() {
	h.t.Helper()
	eventually(h.t, func() error {
		herd, err := h.status()
		if err == nil && !herd.InStep() {
			err = errors.New(herd.Text())
		}
		return err
	})
}

// awaitEqual waits until all servers hold the same map.
func (h *herdProcesses) awaitEqual() {
	h.t.Helper()
	eventually(h.t, func() error {
		herd, err := h.status()
		if err == nil && herd.Maps != status.Equal {
			err = errors.New(herd.Text())
		}
		return err
	})
}
