package compose_test

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// enabled is the variable without which nothing here runs: the tests build images and
// take minutes.
const enabled = "HERD_TEST_COMPOSE"

// patience bounds a wait for what must come to pass.
const patience = 90 * time.Second

// stack is one project of the Compose tool, started from the files as they are.
type stack struct {
	project string
	files   []string          // from the root of the repository
	ports   map[string]string // by server, and of nats
	env     []string
}

// images are built once, by whichever stack is first, and removed when all tests have ended.
var images = map[string]string{
	"HERD_IMAGE": fmt.Sprintf("herdtest-%d", os.Getpid()),
	"NATS_IMAGE": fmt.Sprintf("herdtest-%d-nats", os.Getpid()),
}

func TestMain(m *testing.M) {
	code := m.Run()
	if os.Getenv(enabled) != "" {
		for _, image := range images {
			if err := exec.Command("docker", "rmi", image).Run(); err != nil {
				fmt.Fprintln(os.Stderr, "remove", image, err)
			}
		}
	}
	os.Exit(code)
}

// newStack names a project and brings down what it started when the test ends. ports
// are the variables of the host's ports with their defaults, which are taken where they
// are all free.
func newStack(t *testing.T, name string, ports map[string]string, files ...string) *stack {
	t.Helper()
	if os.Getenv(enabled) == "" {
		t.Skipf("skipped: the stack is tried with %s=1, a Docker engine and Compose", enabled)
	}
	s := &stack{project: fmt.Sprintf("herdtest-%s-%d", name, os.Getpid()), files: files, ports: map[string]string{}}
	free := true
	for _, port := range ports {
		ln, err := net.Listen("tcp", "127.0.0.1:"+port)
		if free = free && err == nil; err == nil {
			ln.Close()
		}
	}
	for variable, port := range ports {
		if !free {
			ln, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer ln.Close()
			_, port, _ = net.SplitHostPort(ln.Addr().String())
			s.env = append(s.env, variable+"="+port)
		}
		s.ports[strings.ToLower(strings.TrimSuffix(variable, "_PORT"))] = port
	}
	for variable, image := range images {
		s.env = append(s.env, variable+"="+image)
	}
	t.Logf("project %s, default ports: %v", s.project, free)
	t.Cleanup(func() {
		if t.Failed() {
			out, _ := s.try("logs", "--no-color", "--tail=30")
			t.Log(out)
		}
		s.compose(t, "down", "-v", "--remove-orphans", "--timeout", "20")
		s.left(t)
	})
	return s
}

// compose runs the Compose tool, of either version, on the stack's files, with .env.example for its
// settings, not those of who runs the tests.
func (s *stack) compose(t *testing.T, args ...string) string {
	t.Helper()
	out, err := s.try(args...)
	if err != nil {
		t.Fatalf("compose %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return out
}

func (s *stack) try(args ...string) (string, error) {
	all := []string{"--env-file", ".env.example", "-p", s.project}
	for _, file := range s.files {
		all = append(all, "-f", file)
	}
	all = append(all, args...)
	if _, err := exec.LookPath("docker-compose"); err != nil {
		return run(s.env, "docker", append([]string{"compose"}, all...)...)
	}
	return run(s.env, "docker-compose", all...)
}

// docker runs the engine's own tool.
func docker(t *testing.T, args ...string) string {
	t.Helper()
	out, err := run(nil, "docker", args...)
	if err != nil {
		t.Fatalf("docker %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(out)
}

// run runs a command at the root of the repository, and gives it a quarter of an hour:
// the first builds images.
func run(env []string, name string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 15*time.Minute)
	defer cancel()
	c := exec.CommandContext(ctx, name, args...)
	c.Dir = ".."
	c.Env = append(os.Environ(), env...)
	out, err := c.CombinedOutput()
	return string(out), err
}

// container is the name that the Compose tool gives a service's container, whichever
// version it is.
func (s *stack) container(t *testing.T, service string) string {
	t.Helper()
	return docker(t, "ps", "-aq", "--filter", "label=com.docker.compose.project="+s.project, "--filter", "label=com.docker.compose.service="+service)
}

// inspected is what the engine says about a container, as far as we ask.
type inspected struct {
	RestartCount int
	State        struct {
		Pid                   int
		ExitCode              int
		Status                string
		StartedAt, FinishedAt time.Time
		Health                *struct {
			Status        string
			FailingStreak int
		}
	}
	Config struct {
		User        string
		StopTimeout int // seconds
		Env         []string
	}
	Mounts []struct {
		Name, Destination string
		RW                bool
	}
	NetworkSettings struct{ Networks map[string]struct{} }
	HostConfig      struct {
		ReadonlyRootfs bool
		Privileged     bool
		CapDrop        []string
		SecurityOpt    []string
		Memory         int64
		PidsLimit      int64
		RestartPolicy  struct{ Name string }
		LogConfig      struct{ Config map[string]string }
		PortBindings   map[string][]struct{ HostIp, HostPort string }
	}
}

func (s *stack) inspect(t *testing.T, service string) inspected {
	t.Helper()
	var all []inspected
	if err := json.Unmarshal([]byte(docker(t, "inspect", s.container(t, service))), &all); err != nil {
		t.Fatal(err)
	}
	return all[0]
}

// awaitHealthy waits for services to pass their health checks.
func (s *stack) awaitHealthy(t *testing.T, within time.Duration, services ...string) {
	t.Helper()
	await(t, within, func() error {
		for _, service := range services {
			if h := s.inspect(t, service).State.Health; h == nil || h.Status != "healthy" {
				return fmt.Errorf("%s is not healthy: %+v", service, h)
			}
		}
		return nil
	})
}

// left checks that the engine holds nothing more of the project.
func (s *stack) left(t *testing.T) {
	t.Helper()
	label := "label=com.docker.compose.project=" + s.project
	for _, list := range [][]string{{"ps", "-aq"}, {"volume", "ls", "-q"}, {"network", "ls", "-q"}} {
		if out := docker(t, append(list, "--filter", label)...); out != "" {
			t.Errorf("docker %s: down -v left %s", strings.Join(list, " "), out)
		}
	}
}

// copyOut copies a file from a container, which need not run.
func (s *stack) copyOut(t *testing.T, service, path string) (to string) {
	t.Helper()
	to = filepath.Join(t.TempDir(), filepath.Base(path))
	docker(t, "cp", s.container(t, service)+":"+path, to)
	return to
}

// filesIn is the names of all files below a directory of a container.
func (s *stack) filesIn(t *testing.T, service, dir string) (names []string) {
	t.Helper()
	c := exec.Command("docker", "cp", s.container(t, service)+":"+dir, "-")
	out, err := c.Output()
	if err != nil {
		t.Fatal(err)
	}
	for r := tar.NewReader(bytes.NewReader(out)); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			slices.Sort(names)
			return names
		}
		if err != nil {
			t.Fatal(err)
		}
		if h.Typeflag == tar.TypeReg {
			names = append(names, filepath.Base(h.Name))
		}
	}
}

// await asks again until there is no error, and fails with the last one.
func await(t *testing.T, within time.Duration, ask func() error) {
	t.Helper()
	for deadline := time.Now().Add(within); ; time.Sleep(200 * time.Millisecond) {
		err := ask()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("not within %v: %v", within, err)
		}
	}
}
