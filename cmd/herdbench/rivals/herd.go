package rivals

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"herd/bus/topology"
	"herd/cmd/internal/freeport"
	"herd/node/status"
)

// Serve is the herd as in production: a process for each server, and a stock nats-server.
// journal is HERD_JOURNAL; "" is none.
func Serve(name, journal string) *HerdRival { return &HerdRival{name: name, journal: journal} }

// With adds pairs NAME=VALUE to the environment of all servers.
func (h *HerdRival) With(env ...string) *HerdRival {
	h.env = append(h.env, env...)
	return h
}

// On makes the herd's topology another than the lab's, as for HERD_TOPOLOGY.
func (h *HerdRival) On(topology string) *HerdRival {
	h.topology = topology
	return h
}

// Secure makes clients use TLS with a certificate for 127.0.0.1.
func (h *HerdRival) Secure(certFile, keyFile string) *HerdRival {
	h.secure = true
	return h.With("HERD_TLS_CERT="+certFile, "HERD_TLS_KEY="+keyFile)
}

// Proxied makes connections of clients begin with a PROXY protocol header.
func (h *HerdRival) Proxied() *HerdRival {
	h.proxied = true
	return h.With("HERD_PROXY_PROTOCOL=127.0.0.0/8")
}

// Logged is Serve with a traffic log, which takes up to 3 GB of the lab's directory.
func Logged(name string) *HerdRival { return &HerdRival{name: name, logged: true} }

// Up is `herd up`: all servers and NATS in one process. topology is as for
// HERD_TOPOLOGY, "" for the lab's.
func Up(name, topology string) *HerdRival {
	return &HerdRival{name: name, up: true, topology: topology}
}

// HerdRival is one way to run the herd.
type HerdRival struct {
	name     string
	journal  string
	logged   bool
	up       bool
	topology string
	secure   bool // clients use TLS
	proxied  bool // and the PROXY protocol
	env      []string
}

func (h *HerdRival) Name() string { return h.name }

// Herd is a running herd.
type Herd struct {
	lines
	ctx    context.Context
	lab    *Lab
	rival  *HerdRival
	Bus    string   // NATS URL
	Ops    []string // URLs for operators, of each server or of the only process
	names  []string
	env    []string   // of all processes
	starts [][]string // environment of each server's process
}

func (h *HerdRival) Start(ctx context.Context, lab *Lab) (System, error) {
	return h.StartHerd(ctx, lab)
}

// StartHerd is Start for callers that need more than a System.
func (h *HerdRival) StartHerd(ctx context.Context, lab *Lab) (*Herd, error) {
	herd := &Herd{ctx: ctx, lab: lab, rival: h}
	if err := h.start(herd); err != nil {
		herd.Stop()
		return nil, err
	}
	return herd, nil
}

func (h *HerdRival) start(herd *Herd) (err error) {
	ctx, lab := herd.ctx, herd.lab
	graph, spec := lab.Graph, "goloman"
	if h.topology != "" {
		spec = h.topology
		if graph, err = topology.Load(spec); err != nil {
			return err
		}
	}
	names := graph.Servers()
	ports, err := freeport.Addresses(2*len(names) + 1)
	if err != nil {
		return err
	}
	bus, ops, clients := ports[0], ports[1:1+len(names)], ports[1+len(names):]
	dir, err := os.MkdirTemp(lab.Dir, "data")
	if err != nil {
		return err
	}
	herd.Bus, herd.names, herd.env = "nats://"+bus, names, append([]string{"HERD_TOPOLOGY=" + spec, "HERD_LOG_LEVEL=warn"}, h.env...)
	if h.up {
		return herd.startUp(bus, ops[0])
	}
	nats, err := start(ctx, nil, lab.NATS, "-a", "127.0.0.1", "-p", port(bus))
	if err != nil {
		return err
	}
	herd.processes = append(herd.processes, nats)
	if err := nats.awaitPort(ctx, bus); err != nil {
		return err
	}
	herd.addresses = clients
	for i, name := range names {
		env := []string{"HERD_NATS_URL=" + herd.Bus, "HERD_LISTEN=" + clients[i], "HERD_OPS_LISTEN=" + ops[i]}
		if h.journal != "" {
			env = append(env, "HERD_JOURNAL="+h.journal, "HERD_DATA_DIR="+filepath.Join(dir, name))
		}
		if h.logged {
			env = append(env, "HERD_LOG_DIR="+dir)
		}
		herd.starts = append(herd.starts, env)
		herd.Ops = append(herd.Ops, "http://"+ops[i])
		if err := herd.StartServer(i); err != nil {
			return err
		}
	}
	for i := range names {
		if err := herd.Server(i).awaitPort(ctx, clients[i]); err != nil {
			return err
		}
	}
	return herd.settle()
}

// startUp starts all servers in one process.
func (h *Herd) startUp(bus, ops string) error {
	p, err := start(h.ctx, append([]string{"HERD_LISTEN=127.0.0.1:0", "HERD_NATS_LISTEN=" + bus, "HERD_OPS_LISTEN=" + ops}, h.env...), h.lab.Herd, "up")
	if err != nil {
		return err
	}
	h.processes = append(h.processes, p)
	h.Ops = append(h.Ops, "http://"+ops)
	if err := p.awaitOutput(h.ctx, "Try:"); err != nil {
		return err
	}
	for line := range strings.Lines(p.output.String()) { // SERVER CLIENTS NEIGHBOURS
		if f := strings.Fields(line); len(f) > 2 && len(h.addresses) < len(h.names) && f[0] == h.names[len(h.addresses)] {
			h.addresses = append(h.addresses, f[1])
		}
	}
	if len(h.addresses) < len(h.names) {
		return fmt.Errorf("herd up does not print all its addresses: %s", p.output.String())
	}
	return h.settle()
}

// StartServer starts the process of the server at index i in the topology. One that ran
// before must have been stopped.
func (h *Herd) StartServer(i int) error {
	p, err := start(h.ctx, append(h.starts[i], h.env...), h.lab.Herd, "serve", h.names[i])
	if err != nil {
		return err
	}
	if at := i + 1; at < len(h.processes) { // the first is NATS
		h.processes[at] = p
	} else {
		h.processes = append(h.processes, p)
	}
	return nil
}

// Server is the process of the server at index i in the topology.
func (h *Herd) Server(i int) *Process { return h.processes[i+1] }

// settle waits until all edges are synced and makes all servers load their places, which
// otherwise happens some seconds after their start.
func (h *Herd) settle() error {
	if err := h.awaitSynced(); err != nil {
		return err
	}
	for _, address := range h.addresses {
		if err := h.loadPlaces(address); err != nil {
			return fmt.Errorf("places of %s: %w", address, err)
		}
	}
	return nil
}

func (h *Herd) loadPlaces(address string) error {
	conn, err := h.Dial(address)
	if err != nil {
		return err
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(patience)) // reading returns its error
	if _, err := io.WriteString(conn, "IAMAT lab +34.068930-118.445127 1\nWHATSAT lab 1 1\n"); err != nil {
		return err
	}
	for replies := bufio.NewReader(conn); ; {
		if line, err := replies.ReadString('\n'); err != nil || line == "\n" { // the JSON has ended
			return err
		}
	}
}

// Dial connects an honest client to a server's address.
func (h *Herd) Dial(address string) (net.Conn, error) {
	conn, err := net.DialTimeout("tcp", address, patience)
	if err != nil {
		return nil, err
	}
	if h.rival.proxied {
		if _, err := io.WriteString(conn, ProxyHeader(honestAddress)); err != nil {
			conn.Close()
			return nil, err
		}
	}
	if h.rival.secure {
		conn = tls.Client(conn, &tls.Config{InsecureSkipVerify: true}) // we have made the certificate ourselves
	}
	return conn, nil
}

// Command is one of the herd's program, for this herd. The caller runs it.
func (h *Herd) Command(ctx context.Context, args ...string) *exec.Cmd {
	command := exec.CommandContext(ctx, h.lab.Herd, args...)
	command.Env = append([]string{"HERD_NATS_URL=" + h.Bus}, h.env...)
	return command
}

// awaitSynced waits until all edges are synced.
func (h *Herd) awaitSynced() error {
	if out, err := h.Command(h.ctx, "status", "--wait", patience.String()).CombinedOutput(); err != nil {
		return fmt.Errorf("herd status --wait: %w\n%s", err, out)
	}
	return nil
}

// Records is the number of records that each server reports.
func (h *Herd) Records(ctx context.Context) (map[string]int, error) {
	out, err := h.Command(ctx, "status", "--json").Output()
	var reported status.Herd
	if parsed := json.Unmarshal(out, &reported); parsed != nil { // the exit status is not 0 while edges are not synced
		return nil, fmt.Errorf("status of a herd: %w", errors.Join(err, parsed))
	}
	held := map[string]int{}
	for _, s := range reported.Servers {
		held[s.Server] = s.Records
	}
	return held, nil
}
