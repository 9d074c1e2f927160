package main

import (
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// checkedOnly matches commands that take minutes. Their tests, benchmarks and flags must
// exist.
var checkedOnly = regexp.MustCompile(`^(\w+=\S* )*(go test|go vet|go tool|go run \./cmd/herdbench|go run \./cmd/internal/|\.ci/)`)

var (
	goTestName = regexp.MustCompile(`func ((?:Test|Benchmark|Fuzz)\w+)\(`)
	goTestRun  = regexp.MustCompile(`-(?:run|bench) (?:'\^\$'|'?([^' \n]+))`) // '^$' matches no test, on purpose
	goTestFlag = regexp.MustCompile(` -args -{1,2}([a-z-]+)`)
)

// check checks that a command that takes minutes has what it needs.
func (r *reader) check(where, command string) {
	r.t.Helper()
	words := strings.Fields(command)
	for strings.Contains(words[0], "=") {
		words = words[1:]
	}
	if words[0] != "go" {
		if _, err := os.Stat(filepath.Join(repository, words[0])); err != nil {
			r.t.Errorf("%s: %v", where, err)
		}
		return
	}
	switch words[1] {
	case "vet", "tool": // .ci/run runs them
		return
	case "run":
		if strings.HasPrefix(words[2], "./cmd/herdbench") {
			list := exec.Command("bash", "-e", "-c", strings.Replace(command, "herdbench", "herdbench --list", 1)) // fails if a flag is unknown
			list.Dir, list.Env = r.dir, r.env
			if out, err := list.CombinedOutput(); err != nil {
				r.t.Errorf("%s: %s: %v\n%s", where, command, err, out)
			}
		} else if _, err := os.Stat(filepath.Join(repository, words[2])); err != nil {
			r.t.Errorf("%s: %v", where, err)
		}
		return
	}
	var tests strings.Builder // the tests of the packages
	for _, pattern := range words[2:] {
		dir, recursive := strings.CutSuffix(pattern, "/...")
		if !strings.HasPrefix(pattern, "./") {
			continue
		}
		for _, file := range repositoryFiles(r.t) {
			in := path.Dir(file) == path.Clean(dir) || recursive && (path.Clean(dir) == "." || strings.HasPrefix(file, path.Clean(dir)+"/"))
			if in && strings.HasSuffix(file, "_test.go") {
				tests.WriteString(readFile(r.t, file))
			}
		}
	}
	names := goTestName.FindAllStringSubmatch(tests.String(), -1)
	for _, run := range goTestRun.FindAllStringSubmatch(command, -1) {
		re := regexp.MustCompile(run[1])
		if !slices.ContainsFunc(names, func(name []string) bool { return re.MatchString(name[1]) }) {
			r.t.Errorf("%s: %s: no test matches %s", where, command, run[1])
		}
	}
	for _, flag := range goTestFlag.FindAllStringSubmatch(command, -1) {
		if !strings.Contains(tests.String(), `("`+flag[1]+`"`) {
			r.t.Errorf("%s: %s: the tests have no flag %s", where, command, flag[1])
		}
	}
	if tests.Len() == 0 {
		r.t.Errorf("%s: %s: there are no tests", where, command)
	}
}
