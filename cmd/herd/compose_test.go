package main

import (
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"
)

// composeFile is what the tests need of a file of Docker Compose.
type composeFile struct {
	Server   composeService `yaml:"x-server"`
	Services map[string]composeService
}

type composeService struct {
	Environment map[string]string
	Volumes     []string
	Ports       []string
	Command     []string
}

func readCompose(t *testing.T, path string) (f composeFile) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.Unmarshal(text, &f); err != nil {
		t.Fatal(err)
	}
	return f
}

// TestComposeSettings: each variable of the program reaches the servers in containers, or
// is refused: herd env, on which everything depends, gets it by a name that it does not
// know, and all that the servers get. .env.example has those that can be set.
func TestComposeSettings(t *testing.T) {
	t.Parallel()
	const fixed = "_IS_FIXED_BY_COMPOSE"
	example, err := os.ReadFile("../../.env.example")
	if err != nil {
		t.Fatal(err)
	}
	examples := regexp.MustCompile(`(?m)^#(HERD_\w+)=`).FindAllStringSubmatch(string(example), -1)
	var inExample, canBeSet []string
	for _, m := range examples {
		if m[1] != "HERD_IMAGE" {
			inExample = append(inExample, m[1])
		}
	}
	goloman, riley := readCompose(t, "../../docker-compose.yml"), readCompose(t, "../../compose/riley.yml")
	server, checked := goloman.Server.Environment, goloman.Services["settings"].Environment
	for _, v := range variables() {
		passed := strings.HasPrefix(server[v.name], "${"+v.name+":-")
		refused := checked[v.name+fixed] == "${"+v.name+":-}"
		if passed == refused {
			t.Errorf("%s: passed to the servers %v, refused %v, want one of them", v.name, passed, refused)
		}
		if passed {
			canBeSet = append(canBeSet, v.name)
		}
		if v.name != "HERD_NATS_SEED" && checked[v.name] != server[v.name] { // the keys do not exist yet
			t.Errorf("%s: the servers get %q, but %q is checked", v.name, server[v.name], checked[v.name])
		}
		delete(server, v.name)
		delete(checked, v.name)
		delete(checked, v.name+fixed)
	}
	delete(server, "GOMEMLIMIT")
	delete(checked, "GOMEMLIMIT")
	if rest := slices.Concat(slices.Collect(maps.Keys(server)), slices.Collect(maps.Keys(checked))); len(rest) > 0 {
		t.Errorf("%q: no such variables", rest)
	}
	for _, v := range variables() {
		if v.secret == "true" && !slices.Contains(canBeSet, v.name+"_FILE") {
			t.Errorf("%s reaches the servers, but there is no %s_FILE for a secret in a file", v.name, v.name)
		}
	}
	slices.Sort(inExample)
	slices.Sort(canBeSet)
	if d := cmp.Diff(canBeSet, inExample); d != "" {
		t.Errorf(".env.example (-passed +example):\n%s", d)
	}

	goloman = readCompose(t, "../../docker-compose.yml")
	for _, pair := range [][2]map[string]string{
		{goloman.Server.Environment, riley.Server.Environment},
		{goloman.Services["settings"].Environment, riley.Services["settings"].Environment},
		{goloman.Services["keys"].Environment, riley.Services["keys"].Environment},
	} {
		pair[0]["HERD_TOPOLOGY"] = "riley"
		if d := cmp.Diff(pair[0], pair[1]); d != "" {
			t.Errorf("environment (-docker-compose.yml +riley.yml):\n%s", d)
		}
	}
}

// TestEnvExample: .env.example has every variable of the compose files and no other, with the
// same default. Where the files leave the default to the program, it is the program's.
func TestEnvExample(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../.env.example")
	if err != nil {
		t.Fatal(err)
	}
	example := map[string]string{}
	for _, m := range regexp.MustCompile(`(?m)^#?([A-Z]\w*)=(.*)$`).FindAllStringSubmatch(string(text), -1) {
		if _, ok := example[m[1]]; ok {
			t.Errorf("%s is there twice", m[1])
		}
		example[m[1]] = m[2]
	}
	programs := map[string]string{}
	for _, v := range variables() {
		programs[v.name] = v.fallback
	}
	used := map[string]bool{"COMPOSE_FILE": true} // Compose itself reads it
	for _, file := range composeFiles {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range regexp.MustCompile(`(\w+): \$\{(\w+):-(.*?)\}|\$\{(\w+):?-?(.*?)\}`).FindAllStringSubmatch(string(text), -1) {
			if strings.HasSuffix(m[1], "_IS_FIXED_BY_COMPOSE") {
				continue
			}
			name, fallback := m[2]+m[4], m[3]+m[5]
			used[name] = true
			shown, ok := example[name]
			if fallback == "" {
				fallback = programs[name]
			}
			switch {
			case !ok:
				t.Errorf("%s: %s is not in .env.example", file, name)
			case name == "SERVER_FILES": // the default is an empty volume, which has no path
			case fallback != "" && shown != fallback:
				t.Errorf("%s: %s is %q by default, .env.example has %q", file, name, fallback, shown)
			}
		}
	}
	for name := range example {
		if !used[name] {
			t.Errorf(".env.example: no compose file has %s", name)
		}
	}
	for _, file := range strings.Split(example["COMPOSE_FILE"], ":") {
		if !slices.Contains(composeFiles, "../../"+file) {
			t.Errorf("COMPOSE_FILE names %q, which is no compose file", file)
		}
	}
}

// composeFiles are all compose files.
var composeFiles = []string{"../../docker-compose.yml", "../../compose/riley.yml", "../../compose/cluster.yml"}

// TestComposeOps: each server's operator port can be reached from the host, on loopback
// unless a setting says otherwise.
func TestComposeOps(t *testing.T) {
	t.Parallel()
	for _, file := range []string{"../../docker-compose.yml", "../../compose/riley.yml"} {
		f, servers := readCompose(t, file), 0
		for name, service := range f.Services {
			if len(service.Command) == 0 || service.Command[0] != "serve" {
				continue
			}
			servers++
			want := regexp.MustCompile(`^\$\{OPS_ADDRESS:-127\.0\.0\.1\}:\$\{` + strings.ToUpper(name) + `_OPS_PORT:-\d+\}:12080$`)
			if !slices.ContainsFunc(service.Ports, want.MatchString) {
				t.Errorf("%s: %s publishes %q, not its operator port", file, name, service.Ports)
			}
		}
		if servers != 5 {
			t.Errorf("%s has %d servers, want 5", file, servers)
		}
	}
}

// TestSystemdSettings: the settings for systemd are the program's, with its defaults, and so
// are those that the unit sets.
func TestSystemdSettings(t *testing.T) {
	t.Parallel()
	programs := map[string]string{}
	for _, v := range variables() {
		programs[v.name] = v.fallback
	}
	read := func(path string) string {
		t.Helper()
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	unit := map[string]string{}
	for _, m := range regexp.MustCompile(`(?m)^Environment=(HERD_\w+)=(.*)$`).FindAllStringSubmatch(read("../../compose/systemd/herd@.service"), -1) {
		unit[m[1]] = m[2]
		if _, ok := programs[m[1]]; !ok {
			t.Errorf("herd@.service sets %s, which is not a setting", m[1])
		}
	}
	settings := regexp.MustCompile(`(?m)^#?(HERD_\w+)=(.*)$`).FindAllStringSubmatch(read("../../compose/systemd/herd.env"), -1)
	if len(settings) == 0 {
		t.Error("herd.env has no settings")
	}
	for _, m := range settings {
		fallback, ok := programs[m[1]]
		if changed := unit[m[1]]; changed != "" {
			fallback = changed
		}
		switch {
		case !ok:
			t.Errorf("herd.env: %s is not a setting", m[1])
		case fallback != "" && m[2] != fallback:
			t.Errorf("herd.env: %s is %q by default, not %q", m[1], fallback, m[2])
		}
	}
}

// TestComposeMounts: the containers mount nothing of the checkout, whose files their
// users may not be able to read.
func TestComposeMounts(t *testing.T) {
	t.Parallel()
	for _, path := range composeFiles {
		for name, service := range readCompose(t, path).Services {
			for _, volume := range service.Volumes {
				if strings.HasPrefix(volume, ".") || strings.HasPrefix(volume, "/") {
					t.Errorf("%s: %s mounts %s", path, name, volume)
				}
			}
		}
	}
}

// TestFixedByCompose: what the compose files decide is refused with a word.
func TestFixedByCompose(t *testing.T) {
	t.Parallel()
	p := start(t, []string{"HERD_TOPOLOGY_IS_FIXED_BY_COMPOSE=riley", "HERD_LISTEN_IS_FIXED_BY_COMPOSE="}, "env")
	if got := p.status(); got != exitUsage || p.stderr.String() != "herd: HERD_TOPOLOGY_IS_FIXED_BY_COMPOSE is not a known variable: herd env lists all\n" {
		t.Errorf("exit status %d, errors %q", got, p.stderr.String())
	}
}
