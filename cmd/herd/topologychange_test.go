package main

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"

	"herd/bus/topology"
)

// The herd of five, and with a sixth server. In the larger one an edge is missing, so that
// some servers lose an edge and others get one in the same change.
const (
	fiveEdges = "Goloman-Hands\nGoloman-Holiday\nGoloman-Wilkes\nHands-Wilkes\nHoliday-Welsh\nHoliday-Wilkes\n"
	sixEdges  = "Goloman-Hands\nGoloman-Holiday\nHands-Wilkes\nHoliday-Welsh\nHoliday-Wilkes\nWalton-Welsh\nWalton-Goloman\n"
	sixth     = "Walton"
)

// changingHerd is a herd of processes whose topology file changes.
type changingHerd struct {
	t         *testing.T
	file      string // of the topology
	broker    natsServer
	keys      string // directory of the keys
	data      string // directory of the journals; "" for none
	servers   map[string]*program
	addresses map[string]string
}

// startChanging starts the herd of five on a broker that requires keys.
func startChanging(t *testing.T, journal bool) *changingHerd {
	t.Helper()
	h := &changingHerd{t: t, file: filepath.Join(t.TempDir(), "topology"), servers: map[string]*program{}, addresses: map[string]string{}}
	if journal {
		h.data = t.TempDir()
	}
	h.write(fiveEdges)
	h.broker, h.keys = startRestrictedBroker(t, h.file)
	for _, name := range h.graph().Servers() {
		h.serve(name)
	}
	h.awaitWell()
	return h
}

func (h *changingHerd) write(edges string) {
	h.t.Helper()
	if err := os.WriteFile(h.file, []byte(edges), 0o600); err != nil {
		h.t.Fatal(err)
	}
}

func (h *changingHerd) graph() *topology.Graph {
	h.t.Helper()
	g, err := topology.Load(h.file)
	if err != nil {
		h.t.Fatal(err)
	}
	return g
}

// permit writes the broker's configuration anew and makes the broker read it.
func (h *changingHerd) permit() {
	h.t.Helper()
	busConfig(h.t, h.file, h.keys, "--listen="+strings.TrimPrefix(h.broker.url, "nats://"), "--monitor="+regexp.MustCompile(`^http://|/$`).ReplaceAllString(h.broker.monitor, ""))
	h.broker.reload()
}

func (h *changingHerd) serve(name string) {
	h.t.Helper()
	listen := h.addresses[name]
	if listen == "" {
		listen = "127.0.0.1:0"
	}
	env := []string{"HERD_LISTEN=" + listen}
	if h.data != "" {
		env = append(env, "HERD_JOURNAL=ack", "HERD_DATA_DIR="+filepath.Join(h.data, name))
	}
	h.servers[name], h.addresses[name] = serveOn(h.t, h.broker.url, h.file, h.keys, name, env...)
}

func (h *changingHerd) awaitWell() string {
	h.t.Helper()
	return awaitInStep(h.t, h.broker.url, h.file, h.keys)
}

// hangUp makes all servers read the topology.
func (h *changingHerd) hangUp() {
	h.t.Helper()
	for _, p := range h.servers {
		p.signal(syscall.SIGHUP)
	}
}

// restart restarts all servers but the sixth, which has the new topology already, one after
// the other.
func (h *changingHerd) restart() {
	h.t.Helper()
	for name, p := range h.servers {
		if name == sixth {
			continue
		}
		p.stop()
		h.serve(name)
		h.servers[name].stderr.await(h.t, `msg=ready`)
	}
}

// TestTopologyChange: the herd of five grows to six and shrinks again, under load, by SIGHUP
// and by rolling restarts, with and without a journal. No acknowledged record is lost, and all
// servers end with the same map. With SIGHUP no client is disconnected.
func TestTopologyChange(t *testing.T) {
	for name, change := range map[string]func(*changingHerd){"SIGHUP": (*changingHerd).hangUp, "restarts": (*changingHerd).restart} {
		for _, journal := range []bool{false, true} {
			if !*longFaults && journal == (name == "restarts") {
				continue // these two are tried with -long only: each takes a while
			}
			if testing.Short() && name == "restarts" {
				continue // node's tests and TestRollingRestart are similar
			}
			name := name
			if journal {
				name += " journal"
			}
			t.Run(strings.ReplaceAll(name, " ", "_"), func(t *testing.T) {
				t.Parallel()
				h := startChanging(t, journal)
				stays := dial(t, h.addresses["Goloman"])
				stays.ask("IAMAT stays +1+1 5")
				load := startFaultLoad(t, h.addresses)
				load.awaitReports(500)

				h.write(sixEdges)
				h.permit()
				h.serve(sixth)
				change(h)
				eventually(t, func() error { // edges that are removed stay for a moment
					text := h.awaitWell()
					if !regexp.MustCompile(`Goloman .*Holiday, Walton \(in step\)\n`).MatchString(text) {
						return fmt.Errorf("status after growing:\n%s", text)
					}
					return nil
				})
				load.awaitReports(500)
				reply := dial(t, h.addresses[sixth]).ask("IAMAT sixth +1+1 5")
				if !strings.HasPrefix(reply, "AT "+sixth) {
					t.Errorf("the sixth server replied %q", reply)
				}

				// A server that leaves is stopped first: it hands over what it has.
				leaving := startFaultLoad(t, map[string]string{sixth: h.addresses[sixth]})
				leaving.awaitReports(500)
				leaving.stop()
				h.servers[sixth].stop()
				delete(h.servers, sixth)
				h.write(fiveEdges)
				change(h)
				h.permit()
				if text := h.awaitWell(); strings.Contains(text, sixth) {
					t.Errorf("status after shrinking:\n%s", text)
				}
				load.awaitReports(500)
				load.stop()
				five := map[string]string{}
				for name := range h.servers {
					five[name] = h.addresses[name]
				}
				leaving.lost(five)
				lost, of := load.lost(five)
				t.Logf("%d of %d records lost", lost, of)
				for name, address := range five {
					if record := dial(t, address).lookup("sixth"); record != reply {
						t.Errorf("%s has %q of the sixth server's client, want %q", name, record, reply)
					}
				}
				if text := h.awaitWell(); !strings.Contains(text, "all maps equal") {
					t.Errorf("status at the end:\n%s", text)
				}
				if !strings.HasPrefix(name, "restarts") {
					stays.ask("IAMAT stays +1+1 6")
				}
				for _, name := range slices.Sorted(maps.Keys(h.servers)) {
					h.servers[name].stop()
				}
			})
		}
	}
}
