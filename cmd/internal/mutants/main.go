// Command mutants checks that the tests notice faults: it puts each of a list of faults into
// the code, one at a time, and runs the tests that should fail.
//
//	go run ./cmd/internal/mutants [-run REGEXP]
//
// It exits with status 1 if the tests pass with one of them, or if a fault cannot be put
// in. The source files stay as they are: the go command gets changed copies by -overlay.
package main

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"time"
)

func main() {
	filter := flag.String("run", "", "only faults whose name matches this regular expression")
	flag.Parse()
	chosen, err := regexp.Compile(*filter)
	if err != nil {
		fmt.Fprintln(os.Stderr, "mutants: -run:", err)
		os.Exit(2)
	}
	root, err := moduleRoot()
	if err != nil {
		fmt.Fprintln(os.Stderr, "mutants:", err)
		os.Exit(1)
	}
	if err := baseline(root, chosen); err != nil {
		fmt.Fprintln(os.Stderr, "mutants:", err)
		os.Exit(1)
	}
	tried, missed := 0, 0
	for _, f := range faults {
		if !chosen.MatchString(f.name) {
			continue
		}
		tried++
		began := time.Now()
		err := f.try(root)
		took := time.Since(began).Round(time.Second / 10)
		if err != nil {
			missed++
			fmt.Printf("MISSED  %s: %v (%v)\n", f.name, err, took)
		} else {
			fmt.Printf("caught  %s (%v)\n", f.name, took)
		}
	}
	fmt.Printf("%d of %d faults were caught\n", tried-missed, tried)
	if missed > 0 || tried == 0 {
		os.Exit(1)
	}
}

// moduleRoot is the directory of go.mod.
func moduleRoot() (string, error) {
	out, err := exec.Command("go", "env", "GOMOD").Output()
	if err != nil {
		return "", fmt.Errorf("go env GOMOD: %w", err)
	}
	return filepath.Dir(string(bytes.TrimSpace(out))), nil
}

// fault is a fault in one place of the code.
type fault struct {
	name     string // what is wrong then
	file     string // from the module's root
	old, new string // old stands in the file exactly once
	pkg      string // whose tests must fail
	tests    string // the narrowest choice of them that does, for go test -run
}

// apply returns the file's content with the fault.
func (f fault) apply(root string) ([]byte, error) {
	content, err := os.ReadFile(filepath.Join(root, f.file))
	if err != nil {
		return nil, err
	}
	if n := bytes.Count(content, []byte(f.old)); n != 1 {
		return nil, fmt.Errorf("%s has the text to replace %d times, want once: bring the list of faults up to date:\n%s", f.file, n, f.old)
	}
	return bytes.Replace(content, []byte(f.old), []byte(f.new), 1), nil
}

// baseline runs the tests for the chosen faults without any fault. They must pass, or they
// would seem to catch every fault.
func baseline(root string, chosen *regexp.Regexp) error {
	done := map[string]bool{}
	for _, f := range faults {
		if !chosen.MatchString(f.name) || done[f.pkg+" "+f.tests] {
			continue
		}
		done[f.pkg+" "+f.tests] = true
		if out, err := f.test(root); err != nil {
			return fmt.Errorf("the tests %s of %s fail without a fault: %w\n%s", f.tests, f.pkg, err, out)
		}
	}
	return nil
}

// test runs the tests for the fault.
func (f fault) test(root string, flags ...string) (output []byte, err error) {
	args := append([]string{"test", "-count=1", "-failfast", "-timeout", timeout, "-run", f.tests}, flags...)
	cmd := exec.Command("go", append(args, "./"+f.pkg)...)
	cmd.Dir = root
	return cmd.CombinedOutput()
}

// timeout is the longest that the tests for one fault may take.
const timeout = "3m"

// testFailed is in the output of go test if a test failed, and not something else, such as the
// compiler.
var testFailed = regexp.MustCompile(`(?m)^(\s*--- FAIL: |panic: |fatal error: )`)

// try returns nil if the tests fail with the fault.
func (f fault) try(root string) error {
	content, err := f.apply(root)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "mutant")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	changed, overlay := filepath.Join(dir, filepath.Base(f.file)), filepath.Join(dir, "overlay.json")
	replace := map[string]map[string]string{"Replace": {filepath.Join(root, f.file): changed}}
	text, err := json.Marshal(replace)
	if err != nil {
		return err
	}
	if err := os.WriteFile(changed, content, 0o600); err != nil {
		return err
	}
	if err := os.WriteFile(overlay, text, 0o600); err != nil {
		return err
	}
	out, err := f.test(root, "-overlay", overlay)
	switch {
	case err == nil:
		return fmt.Errorf("the tests %s of %s pass with it", f.tests, f.pkg)
	case !testFailed.Match(out):
		return fmt.Errorf("no test failed:\n%s", out)
	}
	return nil
}
