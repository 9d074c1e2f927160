package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/alecthomas/kong"
)

// model is the command line.
func model() *kong.Node { return newParser().Model.Node }

// runHere runs the program within the test, without standard input.
func runHere(t *testing.T, args ...string) (status int, stdout, stderr string) {
	t.Helper()
	var out, err bytes.Buffer
	status = run(t.Context(), args, &out, &err)
	return status, out.String(), err.String()
}

// TestHelp: the help of each command has the settings that it reads and its exit statuses,
// and fits 80 columns.
func TestHelp(t *testing.T) {
	t.Parallel()
	read := map[string]bool{}
	for _, command := range model().Children {
		status, help, stderr := runHere(t, command.Name, "--help")
		if status != exitOK || stderr != "" || !strings.HasPrefix(help, "Usage: herd "+command.Name) {
			t.Errorf("herd %s --help: exit status %d, %q, %q", command.Name, status, help, stderr)
		}
		if _, same, _ := runHere(t, "help", command.Name); same != help {
			t.Errorf("herd help %s differs from herd %s --help:\n%s", command.Name, command.Name, same)
		}
		for line := range strings.Lines(help) {
			if n := utf8.RuneCountInString(strings.TrimSuffix(line, "\n")); n > 80 {
				t.Errorf("herd help %s: %d columns: %s", command.Name, n, line)
			}
		}
		for _, v := range variables() {
			listed := regexp.MustCompile(`(?m)^  ` + v.name + ` +(.*)$`).FindStringSubmatch(help)
			switch reads := slices.Contains(v.commands, command.Name); {
			case reads != (listed != nil):
				t.Errorf("herd help %s lists %s: %v, it reads it: %v", command.Name, v.name, listed != nil, reads)
			case reads && listed[1] != v.brief():
				t.Errorf("herd help %s has %q for %s, not on one line or not %q", command.Name, listed[1], v.name, v.brief())
			}
			read[v.name] = read[v.name] || listed != nil
		}
		for status := range exitMeanings {
			if !regexp.MustCompile(`(?m)^  ` + string('0'+rune(status)) + `  +\S`).MatchString(help) {
				t.Errorf("herd help %s lacks exit status %d", command.Name, status)
			}
		}
	}
	names := map[string]bool{}
	for _, command := range model().Children {
		names[command.Name] = true
	}
	for _, v := range variables() {
		if !read[v.name] {
			t.Errorf("no command reads %s", v.name)
		}
		for _, command := range v.commands {
			if !names[command] {
				t.Errorf("%s is for herd %s, which does not exist", v.name, command)
			}
		}
	}
	for _, args := range [][]string{{}, {"help"}, {"--help"}, {"-h"}} {
		status, help, stderr := runHere(t, args...)
		if status != exitOK || stderr != "" || !strings.HasPrefix(help, "Usage: herd <command>") || !strings.Contains(help, "herd env lists them") {
			t.Errorf("herd %q: exit status %d, %q, %q", args, status, help, stderr)
		}
	}
	_, versions, _ := runHere(t, "version")
	if status, stdout, stderr := runHere(t, "--version"); status != exitOK || stdout != versions || stderr != "" {
		t.Errorf("herd --version: exit status %d, %q, %q", status, stdout, stderr)
	}
	if status, _, stderr := runHere(t, "help", "dance"); status != exitUsage || !strings.Contains(stderr, `"dance" is not a command: herd help lists them`) {
		t.Errorf("herd help dance: exit status %d, %q", status, stderr)
	}
}

// TestSettingsOfCommands: a command that reads settings refuses an invalid environment, and
// the others do not care.
func TestSettingsOfCommands(t *testing.T) {
	t.Parallel()
	arguments := map[string][]string{
		"get": {"kiwi"}, "near": {"kiwi", "10"}, "restore": {"-"}, "forget": {"kiwi"}, "serve": {"Welsh"}, "bus-config": {filepath.Join(t.TempDir(), "keys")}, "ask": {"a b"}, "completion": {"bash"},
	}
	for _, command := range model().Children {
		reads := command.Name == "env" || slices.ContainsFunc(variables(), func(v variable) bool { return slices.Contains(v.commands, command.Name) })
		p := start(t, []string{"HERD_LISTN=1"}, append([]string{command.Name}, arguments[command.Name]...)...)
		if got := p.status(); reads != (got == exitUsage) || !reads && got != exitOK {
			t.Errorf("herd %s reads settings: %v; exit status %d with an unknown variable", command.Name, reads, got)
		}
		if said := p.stderr.String(); reads && said != "herd: HERD_LISTN is not a known variable (did you mean HERD_LISTEN?): herd env lists all\n" {
			t.Errorf("herd %s: %s", command.Name, said)
		}
	}
}

// TestOurVariables: whatever variable the files of this project take from the environment of
// those who use them, the program does not refuse it there.
func TestOurVariables(t *testing.T) {
	t.Parallel()
	known := map[string]bool{}
	for _, v := range variables() {
		known[v.name] = true
	}
	taken := regexp.MustCompile(`\$\{?(HERD_[A-Z_]+)|Getenv\("(HERD_[A-Z_]+)"|(?m:^[# ]*(?:export )?(HERD_[A-Z_]+)=)`)
	files := 0
	err := filepath.WalkDir("../..", func(path string, entry os.DirEntry, err error) error {
		name := entry.Name()
		switch {
		case err != nil:
			return err
		case entry.IsDir() && (name == ".git" || name == "node_modules"):
			return filepath.SkipDir
		case entry.IsDir():
			return nil
		}
		if ext := filepath.Ext(name); !slices.Contains([]string{".yml", ".yaml", ".go", ".sh", ".example", ".md", ".service"}, ext) && !strings.Contains(path, "/.ci/") && name != "Dockerfile" {
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		for _, m := range taken.FindAllStringSubmatch(string(text), -1) {
			files++
			if name := m[1] + m[2] + m[3]; !known[name] && !notOurs.MatchString(name) {
				t.Errorf("%s takes %s from the environment, which the program refuses", path, name)
			}
		}
		return nil
	})
	if err != nil || files < 50 {
		t.Errorf("%d variables found, %v", files, err)
	}
}

// TestBashCompletion: what bash offers.
func TestBashCompletion(t *testing.T) {
	t.Parallel()
	bash, err := exec.LookPath("bash")
	if err != nil {
		t.Skip(err)
	}
	_, script, _ := runHere(t, "completion", "bash")
	dir := t.TempDir()
	for _, name := range []string{"a file", "a.pem"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "herd"), []byte("#!/bin/sh\nexec '"+os.Args[0]+"' \"$@\"\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	for words, want := range map[string]string{
		"herd st":                      "status",
		"herd --v":                     "--version",
		"herd topology --format ":      "text|dot|mermaid",
		"herd topology --format = d":   "dot",
		"herd topology --format =":     "text|dot|mermaid",
		"herd completion ":             "bash|zsh|fish",
		"herd help comp":               "completion",
		"herd serve W":                 "Welsh|Wilkes",
		"herd reload Welsh Ha":         "Hands",
		"herd ask --c":                 "--ca|--cert",
		"herd ask --ca a":              "a file|a.pem",
		"herd status --wait 1s --watc": "--watch",
		"herd load --count ":           "",
		"herd dance x":                 "",
	} {
		cmd := command(t, asProgram, []string{"PATH=" + dir + ":" + os.Getenv("PATH")})
		cmd.Path, cmd.Dir = bash, dir
		cmd.Args = []string{"bash", "-c", script + `
			IFS=' '
			COMP_WORDS=($1)
			[[ $1 == *' ' ]] && COMP_WORDS+=('')
			unset IFS
			COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
			_herd
			IFS='|'
			echo "${COMPREPLY[*]}"`, "bash", words}
		out, err := cmd.Output()
		got := strings.Split(strings.TrimSuffix(string(out), "\n"), "|")
		slices.Sort(got)
		wanted := strings.Split(want, "|")
		slices.Sort(wanted)
		if err != nil || !slices.Equal(got, wanted) {
			t.Errorf("%q is completed with %q, %v, want %q", words, got, err, wanted)
		}
	}
}

// TestCompletions: the scripts have all commands and flags, and a shell that is here
// understands them.
func TestCompletions(t *testing.T) {
	t.Parallel()
	for _, shell := range []string{"bash", "zsh", "fish"} {
		status, script, _ := runHere(t, "completion", shell)
		if status != exitOK {
			t.Fatalf("%s: exit status %d", shell, status)
		}
		for _, command := range model().Children {
			for _, f := range command.Flags {
				flag := "--" + f.Name
				if shell == "fish" {
					flag = "-l " + f.Name
				}
				if !strings.Contains(script, flag) {
					t.Errorf("%s lacks %s of %s", shell, flag, command.Name)
				}
			}
			if !strings.Contains(script, command.Name) {
				t.Errorf("%s lacks %s", shell, command.Name)
			}
		}
		if _, err := exec.LookPath(shell); err != nil {
			continue
		}
		check := exec.Command(shell, "-n", "/dev/stdin")
		check.Stdin = strings.NewReader(script)
		if out, err := check.CombinedOutput(); err != nil || len(out) > 0 {
			t.Errorf("%s -n: %v\n%s", shell, err, out)
		}
	}
	if status, _, stderr := runHere(t, "completion", "cmd"); status != exitUsage || !strings.Contains(stderr, `"bash","zsh","fish"`) {
		t.Errorf("completion cmd: exit status %d, %q", status, stderr)
	}
}

// TestManpage: the manual page has every command, flag and variable, and groff, if it is
// here, has nothing to complain about.
func TestManpage(t *testing.T) {
	t.Parallel()
	status, page, _ := runHere(t, "manpage")
	if status != exitOK {
		t.Fatalf("exit status %d", status)
	}
	plain := strings.NewReplacer(`\-`, "-", `\e`, `\`, `\(dq`, `"`).Replace(page)
	for _, command := range model().Children {
		if !strings.Contains(plain, "\n.SS herd "+command.Name) {
			t.Errorf("no section about %s", command.Name)
		}
		for _, f := range command.Flags {
			if !regexp.MustCompile(`(?m)^\.B (-\w, )?--` + f.Name + `(=.*)?$`).MatchString(plain) {
				t.Errorf("no flag %s of %s", f.Name, command.Name)
			}
		}
	}
	for _, v := range variables() {
		if !strings.Contains(plain, "\n.B "+v.name+"\n") {
			t.Errorf("no variable %s", v.name)
		}
	}
	for line := range strings.Lines(page) {
		request := regexp.MustCompile(`^[.'](\S*)`).FindStringSubmatch(line)
		if request != nil && !slices.Contains([]string{`\"`, "TH", "SH", "SS", "TP", "PP", "B", "I", "RI", "br", "RS", "RE", "nf", "fi"}, request[1]) {
			t.Errorf("unknown request in %q", line)
		}
	}
	if groff, err := exec.LookPath("groff"); err == nil {
		check := exec.Command(groff, "-man", "-ww", "-Tutf8", "-z")
		check.Stdin = strings.NewReader(page)
		if out, err := check.CombinedOutput(); err != nil || len(out) > 0 {
			t.Errorf("groff: %v\n%s", err, out)
		}
	}
	for text, want := range map[string]string{".a -b": `\&.a \-b`, `\n "x"`: `\en \(dqx\(dq`, "a…": `a\[u2026]`, "'": `\&'`} {
		if got := roff(text); got != want {
			t.Errorf("roff(%q) = %q, want %q", text, got, want)
		}
	}
}

func TestInvocation(t *testing.T) {
	t.Parallel()
	for arg0, want := range map[string]string{
		"herd": "herd", "./herd": "./herd", "/opt/my herd": "'/opt/my herd'",
		"/tmp/go-build123/b001/exe/herd":                                       "go run ./cmd/herd",
		"/home/me/.cache/go-build/3f/3f" + strings.Repeat("0", 62) + "-d/herd": "go run ./cmd/herd",
		"/cache/3f/3f" + strings.Repeat("0", 62) + "-d/herd":                   "go run ./cmd/herd",
	} {
		if got := invocation(arg0); got != want {
			t.Errorf("invocation(%q) = %q, want %q", arg0, got, want)
		}
	}
}
