// Package compose_test tests the stack of docker-compose.yml on a Docker engine, with the
// committed files unchanged. The tests connect from the host, as clients and operators do,
// and kill, disconnect, pause and restart containers.
package compose_test

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
)

var goloman = map[string]string{
	"NATS_PORT": "4222", "GOLOMAN_PORT": "12000", "HANDS_PORT": "12001", "HOLIDAY_PORT": "12002", "WELSH_PORT": "12003", "WILKES_PORT": "12004",
	"GOLOMAN_OPS_PORT": "12080", "HANDS_OPS_PORT": "12081", "HOLIDAY_OPS_PORT": "12082", "WELSH_OPS_PORT": "12083", "WILKES_OPS_PORT": "12084",
}

// maxImageSize is the largest size of an image, in bytes.
const maxImageSize = 40_000_000

// TestStack starts the herd with one command. After each fault, all servers must know
// all reports again.
func TestStack(t *testing.T) {
	h := newHerd(newStack(t, "goloman", goloman, "docker-compose.yml"), "goloman", "hands", "holiday", "welsh", "wilkes")
	step := func(name string, run func(*testing.T)) {
		if !t.Run(name, run) {
			t.FailNow() // the next step depends on this one
		}
	}
	everything := append([]string{"nats"}, h.servers...)

	h.compose(t, "build")
	step("up", func(t *testing.T) {
		h.compose(t, "up", "-d")
		h.awaitHealthy(t, time.Minute, everything...)
		checked, making := h.inspect(t, "settings").State.FinishedAt, h.inspect(t, "keys").State.StartedAt
		if checked.After(making) {
			t.Errorf("settings exited at %v, keys started at %v, want this order", checked, making)
		}
		made, broker := h.inspect(t, "keys").State.FinishedAt, h.inspect(t, "nats").State.StartedAt
		for _, server := range h.servers {
			if started := h.inspect(t, server).State.StartedAt; made.After(broker) || broker.After(started) {
				t.Errorf("keys exited at %v, nats started at %v, %s started at %v, want this order", made, broker, server, started)
			}
		}
	})
	step("hardened", func(t *testing.T) {
		for _, service := range append([]string{"settings", "keys"}, everything...) {
			h.checkHardened(t, service)
		}
		if internal := docker(t, "network", "inspect", "--format", "{{.Internal}}", h.project+"_bus"); internal != "true" {
			t.Error("the network bus is not internal")
		}
		for _, image := range images {
			if size, err := strconv.Atoi(docker(t, "image", "inspect", "--format", "{{.Size}}", image)); err != nil || size > maxImageSize {
				t.Errorf("image %s: %d bytes, want at most %d (%v)", image, size, maxImageSize, err)
			}
		}
	})
	step("own keys only", func(t *testing.T) {
		for _, server := range h.servers {
			if got, want := h.filesIn(t, server, "/key"), []string{strings.ToUpper(server[:1]) + server[1:] + ".nk"}; !slices.Equal(got, want) {
				t.Errorf("%s has the key files %v, want %v", server, got, want)
			}
		}
		if got, want := h.filesIn(t, "nats", "/key"), []string{"nats.conf"}; !slices.Equal(got, want) {
			t.Errorf("nats has the key files %v, want %v", got, want)
		}
	})
	step("protocol", h.checkProtocol)

	step("operators' HTTP from the host", func(t *testing.T) {
		for _, server := range h.servers {
			for path, want := range map[string]string{"/readyz": "ready\n", "/metrics": "herd_"} {
				if body, err := get("http://127.0.0.1:" + h.ports[server+"_ops"] + path); err != nil || !strings.Contains(body, want) {
					t.Errorf("%s %s: %v, %q, want %q in it", server, path, err, body, want)
				}
			}
		}
	})
	// The log of keys says only what is true in a container, and its command works on the host.
	ops := h.copyOut(t, "keys", "/bus/ops.nk")
	step("the operators' key", func(t *testing.T) {
		log := docker(t, "logs", h.container(t, "keys"))
		if strings.Contains(log, "HERD_") || strings.Contains(log, "nats-server") || strings.Contains(log, "TLS") {
			t.Errorf("the log of keys has lines that are not true there: %s", log)
		}
		copies := regexp.MustCompile(`(?m)^  (docker cp \S+ ops\.nk)$`).FindStringSubmatch(log)
		if copies == nil {
			t.Fatalf("the log of keys does not say how to copy the operators' key: %s", log)
		}
		command := exec.Command("sh", "-c", copies[1])
		command.Dir = t.TempDir()
		if out, err := command.CombinedOutput(); err != nil {
			t.Fatalf("%s: %v: %s", copies[1], err, out)
		}
		want := read(t, ops)
		if got := read(t, filepath.Join(command.Dir, "ops.nk")); !bytes.Equal(got, want) || !bytes.HasPrefix(got, []byte("SU")) {
			t.Errorf("%s copied something else than the operators' key", copies[1])
		}
	})
	step("operators subscribe and cannot publish", func(t *testing.T) {
		operator, denied := h.connect(t, ops)
		records, err := operator.SubscribeSync("herd.edge.>")
		if err != nil {
			t.Fatal(err)
		}
		if err := operator.Flush(); err != nil {
			t.Fatal(err)
		}
		client := h.report(t, "welsh")
		for { // other records may come first
			m, err := records.NextMsg(timeout)
			if err != nil {
				t.Fatalf("no message with the report: %v", err)
			}
			if strings.Contains(string(m.Data), strings.TrimSpace(h.reports[client])) {
				break
			}
		}
		checkDenied(t, operator, denied, "herd.edge.Welsh.Holiday")
	})
	step("key of another server", func(t *testing.T) {
		// A client on the host with the key of Hands.
		hands, denied := h.connect(t, h.copyOut(t, "hands", "/key/Hands.nk"))
		checkDenied(t, hands, denied, "herd.edge.Welsh.Holiday")
		// A container that claims to be Welsh while Welsh is stopped.
		h.compose(t, "stop", "welsh")
		impostor := docker(t, "run", "-d", "--network", h.project+"_bus", "-v", h.project+"_key-hands:/key:ro", "--label", "com.docker.compose.project="+h.project,
			"-e", "HERD_NATS_URL=nats://nats:4222", "-e", "HERD_NATS_SEED=/key/Hands.nk", images["HERD_IMAGE"], "serve", "Welsh")
		defer docker(t, "rm", "-f", impostor)
		await(t, timeout, func() error {
			if log := docker(t, "logs", impostor); !strings.Contains(log, `Permissions Violation for Publish to \"herd.`) {
				return errors.New("nothing denied: " + log)
			}
			return nil
		})
		docker(t, "rm", "-f", impostor)
		h.compose(t, "start", "welsh")
		h.awaitHealthy(t, timeout, "welsh")
		h.awaitReports(t)
	})
	step("killed", func(t *testing.T) {
		before := h.inspect(t, "holiday")
		server, err := os.FindProcess(before.State.Pid)
		if err != nil {
			t.Fatal(err)
		}
		if err := server.Kill(); err != nil {
			t.Fatal(err)
		}
		await(t, timeout, func() error {
			if now := h.inspect(t, "holiday"); now.RestartCount <= before.RestartCount {
				return errors.New("holiday has not been restarted")
			}
			return h.checkReports("holiday")
		})
		h.awaitHealthy(t, timeout, "holiday")
	})
	step("disconnected from the bus", func(t *testing.T) {
		docker(t, "network", "disconnect", h.project+"_bus", h.container(t, "welsh"))
		here, there := h.report(t, "welsh"), h.report(t, "goloman")
		for server, client := range map[string]string{"welsh": there, "goloman": here} {
			if reply, err := h.ask(server, "WHATSAT "+client+" 0 0"); err != nil || !strings.HasPrefix(reply, "? ") {
				t.Errorf("%s replies %q, %v about a client on the other side of the partition", server, reply, err)
			}
		}
		await(t, timeout, func() error {
			if health := h.inspect(t, "welsh").State.Health; health.FailingStreak == 0 {
				return fmt.Errorf("welsh is disconnected, but its health is %+v", *health)
			}
			return nil
		})
		docker(t, "network", "connect", h.project+"_bus", h.container(t, "welsh"))
		h.awaitReports(t)
	})
	step("nats restarted and paused", func(t *testing.T) {
		h.compose(t, "restart", "nats")
		h.report(t, "hands")
		h.awaitReports(t)
		h.compose(t, "pause", "nats")
		h.report(t, "wilkes")
		h.compose(t, "unpause", "nats")
		h.awaitReports(t)
	})
	step("down and up", func(t *testing.T) {
		h.compose(t, "down", "--timeout", "20")
		h.compose(t, "up", "-d")
		h.awaitHealthy(t, timeout, everything...)
		h.awaitReports(t)
		was, err := os.ReadFile(ops)
		if err != nil {
			t.Fatal(err)
		}
		if now, err := os.ReadFile(h.copyOut(t, "keys", "/bus/ops.nk")); err != nil || string(now) != string(was) {
			t.Errorf("the operators' key changed, or cannot be read (%v)", err)
		}
	})
}

// TestRiley starts the other herd, as a project with its own NATS server.
func TestRiley(t *testing.T) {
	h := newHerd(newStack(t, "riley", map[string]string{
		"RILEY_NATS_PORT": "4223", "RILEY_PORT": "12010", "JAQUEZ_PORT": "12011", "JUZANG_PORT": "12012", "CAMPBELL_PORT": "12013", "BERNARD_PORT": "12014",
		"RILEY_OPS_PORT": "12085", "JAQUEZ_OPS_PORT": "12086", "JUZANG_OPS_PORT": "12087", "CAMPBELL_OPS_PORT": "12088", "BERNARD_OPS_PORT": "12089",
	}, "compose/riley.yml"), "riley", "jaquez", "juzang", "campbell", "bernard")
	h.compose(t, "up", "-d")
	h.awaitHealthy(t, time.Minute, append([]string{"nats"}, h.servers...)...)
	h.checkProtocol(t)
}

// TestCluster kills one of three NATS nodes. The compose files are named once, in the file of
// settings: so down -v removes all of the cluster.
func TestCluster(t *testing.T) {
	settings := enable(t, "COMPOSE_FILE") // before the stack, which is taken down with it
	h := newHerd(newStack(t, "cluster", goloman), "goloman", "hands", "holiday", "welsh", "wilkes")
	h.settings = settings
	h.compose(t, "up", "-d")
	h.awaitHealthy(t, time.Minute, append([]string{"nats", "nats-2", "nats-3"}, h.servers...)...)
	h.checkProtocol(t)
	h.compose(t, "kill", "nats-2")
	h.checkProtocol(t)
}

// checkHardened checks a container's user, limits, networks, volumes and ports.
func (s *stack) checkHardened(t *testing.T, service string) {
	t.Helper()
	c := s.inspect(t, service)
	var faults []error
	must := func(ok bool, format string, args ...any) {
		if !ok {
			faults = append(faults, fmt.Errorf(format, args...))
		}
	}
	must(c.Config.User == "65532:65532", "user %q", c.Config.User)
	must(c.HostConfig.ReadonlyRootfs, "its root file system is writable")
	must(slices.Equal(c.HostConfig.CapDrop, []string{"ALL"}) && !c.HostConfig.Privileged, "capabilities dropped: %v", c.HostConfig.CapDrop)
	must(slices.Contains(c.HostConfig.SecurityOpt, "no-new-privileges:true"), "security options %v", c.HostConfig.SecurityOpt)
	must(c.HostConfig.Memory > 0 && c.HostConfig.PidsLimit > 0, "limits of %d bytes of memory and %d threads", c.HostConfig.Memory, c.HostConfig.PidsLimit)
	must(c.HostConfig.LogConfig.Config["max-size"] != "", "no limit on the size of its log")
	if service == "settings" || service == "keys" {
		must(c.State.Status == "exited" && c.State.ExitCode == 0, "state %s, exit status %d", c.State.Status, c.State.ExitCode)
	} else {
		must(c.HostConfig.RestartPolicy.Name == "unless-stopped", "restart policy %q", c.HostConfig.RestartPolicy.Name)
		must(c.RestartCount == 0, "restarted %d times: it did not wait for its dependencies", c.RestartCount)
		must(c.Config.StopTimeout > 8, "stop timeout of %d s, want more than 8", c.Config.StopTimeout)
	}
	networks, mounts := map[string]bool{}, map[string]bool{}
	for network := range c.NetworkSettings.Networks {
		networks[strings.TrimPrefix(network, s.project+"_")] = true
	}
	for _, m := range c.Mounts {
		mounts[fmt.Sprintf("%s on %s, writable %v", strings.TrimPrefix(m.Name, s.project+"_"), m.Destination, m.RW)] = true
	}
	expect := func(what string, got map[string]bool, want ...string) {
		slices.Sort(want)
		must(slices.Equal(slices.Sorted(maps.Keys(got)), want), "%s: %v, want %v", what, got, want)
	}
	key := "key-" + service + " on /key, writable false"
	switch service {
	case "settings":
		expect("networks", networks, "none")
		expect("volumes", mounts, "files on /files, writable false")
	case "keys":
		expect("networks", networks, "none")
	case "nats":
		expect("networks", networks, "bus", "operators")
		expect("volumes", mounts, key)
	default:
		expect("networks", networks, "bus", "clients")
		expect("volumes", mounts, service+" on /data, writable true", "files on /files, writable false", key)
		must(slices.ContainsFunc(c.Config.Env, func(env string) bool {
			limit, ok := strings.CutPrefix(env, "GOMEMLIMIT=")
			mib, err := strconv.ParseInt(strings.TrimSuffix(limit, "MiB"), 10, 64)
			return ok && err == nil && mib<<20 < c.HostConfig.Memory
		}), "GOMEMLIMIT is not set below %d bytes", c.HostConfig.Memory)
	}
	for port, bindings := range c.HostConfig.PortBindings {
		for _, b := range bindings {
			must(b.HostIp == "127.0.0.1", "port %s published on %q", port, b.HostIp)
			want := s.ports[service]
			if port == "12080/tcp" {
				want = s.ports[service+"_ops"]
			}
			must(b.HostPort == want, "port %s published as %s, want %s", port, b.HostPort, want)
		}
	}
	if err := errors.Join(faults...); err != nil {
		t.Errorf("%s: %v", service, err)
	}
}

// connect connects to NATS from the host with a key. denied receives the broker's errors.
func (s *stack) connect(t *testing.T, seed string) (conn *nats.Conn, denied <-chan error) {
	t.Helper()
	key, err := nats.NkeyOptionFromSeed(seed)
	if err != nil {
		t.Fatal(err)
	}
	faults := make(chan error, 16)
	conn, err = nats.Connect("nats://127.0.0.1:"+s.ports["nats"], key, nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
		select {
		case faults <- err:
		default:
		}
	}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(conn.Close)
	return conn, faults
}

// checkDenied checks that the broker refuses a message on a subject.
func checkDenied(t *testing.T, conn *nats.Conn, denied <-chan error, subject string) {
	t.Helper()
	if err := conn.Publish(subject, []byte("hello")); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-denied:
		if !errors.Is(err, nats.ErrPermissionViolation) || !strings.Contains(err.Error(), subject) {
			t.Errorf("publish on %s: %v, want a permissions violation", subject, err)
		}
	case <-time.After(timeout):
		t.Errorf("publish on %s: not denied", subject)
	}
}
