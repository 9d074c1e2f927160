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
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// enableVar is the environment variable that enables these tests. They build images and
// take minutes.
const enableVar = "HERD_TEST_COMPOSE"

// timeout is how long the tests wait for a condition.
const timeout = 90 * time.Second

// stack is a project of Docker Compose that uses the committed files unchanged.
type stack struct {
	project  string
	settings string            // the file of settings
	files    []string          // relative to the root of the repository
	ports    map[string]string // host ports by service
	env      []string
}

// images are the names of the images, by variable. The first stack builds them, and TestMain
// removes them after all tests.
var images = map[string]string{
	"HERD_IMAGE": fmt.Sprintf("herdtest-%d", os.Getpid()),
	"NATS_IMAGE": fmt.Sprintf("herdtest-%d-nats", os.Getpid()),
}

func TestMain(m *testing.M) {
	code := m.Run()
	if os.Getenv(enableVar) != "" {
		for _, image := range images {
			if err := exec.Command("docker", "rmi", image).Run(); err != nil {
				fmt.Fprintf(os.Stderr, "remove image %s: %v\n", image, err)
			}
		}
	}
	os.Exit(code)
}

// newStack returns a stack that is taken down when the test ends. ports has the defaults of
// the variables for host ports. They are used if all of them are free, otherwise the stack
// gets other free ports.
func newStack(t *testing.T, name string, ports map[string]string, files ...string) *stack {
	t.Helper()
	if os.Getenv(enableVar) == "" {
		t.Skipf("needs %s=1, a Docker engine and Docker Compose", enableVar)
	}
	s := &stack{project: fmt.Sprintf("herdtest-%s-%d", name, os.Getpid()), settings: ".env.example", files: files, ports: map[string]string{}}
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
	t.Logf("project %s, default ports free: %v", s.project, free)
	t.Cleanup(func() {
		if t.Failed() {
			out, _ := s.try("logs", "--no-color", "--tail=30")
			t.Log(out)
		}
		s.compose(t, "down", "-v", "--remove-orphans", "--timeout", "20")
		s.checkRemoved(t)
	})
	return s
}

// compose runs Docker Compose, version 1 or 2, on the stack's files. Settings come from
// .env.example, so a developer's own .env has no effect.
func (s *stack) compose(t *testing.T, args ...string) string {
	t.Helper()
	out, err := s.try(args...)
	if err != nil {
		t.Fatalf("compose %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return out
}

// try is like compose, but returns the error.
func (s *stack) try(args ...string) (string, error) {
	all := []string{"--env-file", s.settings, "-p", s.project}
	for _, file := range s.files {
		all = append(all, "-f", file)
	}
	all = append(all, args...)
	if _, err := exec.LookPath("docker-compose"); err != nil {
		return run(s.env, "docker", append([]string{"compose"}, all...)...)
	}
	return run(s.env, "docker-compose", all...)
}

// enable returns a copy of .env.example in which the line of one variable is not a comment.
func enable(t *testing.T, variable string) (path string) {
	t.Helper()
	text := string(read(t, "../.env.example"))
	enabled := strings.Replace(text, "\n#"+variable+"=", "\n"+variable+"=", 1)
	if enabled == text {
		t.Fatalf(".env.example has no %s", variable)
	}
	path = filepath.Join(t.TempDir(), "env")
	if err := os.WriteFile(path, []byte(enabled), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// get returns the body of a URL.
func get(url string) (string, error) {
	reply, err := http.Get(url)
	if err != nil {
		return "", err
	}
	defer reply.Body.Close()
	body, err := io.ReadAll(reply.Body)
	if err == nil && reply.StatusCode != http.StatusOK {
		err = errors.New(reply.Status)
	}
	return string(body), err
}

// docker runs the docker command and returns its output.
func docker(t *testing.T, args ...string) string {
	t.Helper()
	out, err := run(nil, "docker", args...)
	if err != nil {
		t.Fatalf("docker %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(out)
}

// run runs a command in the root of the repository. Its limit of 15 minutes allows for
// building the images.
func run(env []string, name string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 15*time.Minute)
	defer cancel()
	c := exec.CommandContext(ctx, name, args...)
	c.Dir = ".."
	c.Env = append(os.Environ(), env...)
	out, err := c.CombinedOutput()
	return string(out), err
}

// container returns the id of a service's container. Its name depends on the version of
// Compose.
func (s *stack) container(t *testing.T, service string) string {
	t.Helper()
	return docker(t, "ps", "-aq", "--filter", "label=com.docker.compose.project="+s.project, "--filter", "label=com.docker.compose.service="+service)
}

// inspected has the fields of docker inspect that the tests use.
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

// awaitHealthy waits until services pass their health checks.
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

// checkRemoved checks that no container, volume or network of the project is left.
func (s *stack) checkRemoved(t *testing.T) {
	t.Helper()
	label := "label=com.docker.compose.project=" + s.project
	for _, list := range [][]string{{"ps", "-aq"}, {"volume", "ls", "-q"}, {"network", "ls", "-q"}} {
		if out := docker(t, append(list, "--filter", label)...); out != "" {
			t.Errorf("docker %s: after down -v there is %s", strings.Join(list, " "), out)
		}
	}
}

// copyOut copies a file from a container, which may be stopped, and returns the copy's path.
func (s *stack) copyOut(t *testing.T, service, path string) (to string) {
	t.Helper()
	to = filepath.Join(t.TempDir(), filepath.Base(path))
	docker(t, "cp", s.container(t, service)+":"+path, to)
	return to
}

// filesIn returns the sorted base names of all files below a directory in a container.
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

// await calls check until it returns nil. If it still fails after a time, so does the test.
func await(t *testing.T, within time.Duration, check func() error) {
	t.Helper()
	for deadline := time.Now().Add(within); ; time.Sleep(200 * time.Millisecond) {
		err := check()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("not within %v: %v", within, err)
		}
	}
}
