// Command licenses lists the licences of all modules that this repository needs, and checks
// that they are allowed:
//
//	go run ./cmd/internal/licenses
//	go run ./cmd/internal/licenses -texts FILE
//
// With -texts it writes the texts of the licences of the modules in the programs, which must
// be passed on with the programs. It exits with status 1 if a licence is unknown or not
// allowed. It reads the module cache only: go mod download fills it.
package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"text/tabwriter"
)

// allowedInPrograms are the licences that the modules in the programs may have: permissive
// ones, whose texts must be passed on.
var allowedInPrograms = []string{"Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "ISC", "MIT"}

// allowedInTests are the licences of modules that only tests and tools need. They are not
// passed on.
var allowedInTests = append(slices.Clone(allowedInPrograms), "MPL-2.0")

// systems are those for which the programs are built.
var systems = []string{"linux", "darwin", "windows"}

func main() {
	texts := flag.String("texts", "", "write the texts of the licences of the programs' modules to this `file`")
	flag.Parse()
	if err := run(os.Stdout, *texts); err != nil {
		fmt.Fprintln(os.Stderr, "licenses:", err)
		os.Exit(1)
	}
}

func run(out io.Writer, texts string) error {
	// The programs of the images: herd and the broker.
	inPrograms, err := modules([]string{"./cmd/herd", "github.com/nats-io/nats-server/v2"})
	if err != nil {
		return err
	}
	if texts != "" {
		var all bytes.Buffer
		if err := errors.Join(writeTexts(&all, inPrograms), check(inPrograms, allowedInPrograms)); err != nil {
			return err
		}
		return os.WriteFile(texts, all.Bytes(), 0o644)
	}
	inTests, err := modules([]string{"-test", "./...", "honnef.co/go/tools/cmd/staticcheck"})
	if err != nil {
		return err
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "MODULE\tVERSION\tLICENCE\tIN")
	list := func(all map[string]module, where string) {
		for _, path := range slices.Sorted(maps.Keys(all)) {
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", path, all[path].Version, strings.Join(all[path].licences, ", "), where)
		}
	}
	maps.DeleteFunc(inTests, func(path string, _ module) bool { return inPrograms[path].Path != "" })
	list(inPrograms, "programs")
	list(inTests, "tests and tools")
	return errors.Join(w.Flush(), check(inPrograms, allowedInPrograms), check(inTests, allowedInTests))
}

// module is a module and what its licence files say.
type module struct {
	Path, Version, Dir string
	Main               bool

	files    []string // paths of its licence files
	licences []string // SPDX identifiers, or unknown
}

const unknown = "unknown"

// modules returns the modules of packages and of all that they import, by path, on all
// systems.
func modules(packages []string) (map[string]module, error) {
	all := map[string]module{}
	for _, system := range systems {
		list := exec.Command("go", append([]string{"list", "-deps", "-json=Module"}, packages...)...)
		list.Env = append(os.Environ(), "GOOS="+system, "CGO_ENABLED=0")
		list.Stderr = os.Stderr
		out, err := list.Output()
		if err != nil {
			return nil, fmt.Errorf("go list for %s: %w", system, err)
		}
		for d := json.NewDecoder(bytes.NewReader(out)); ; {
			var pkg struct{ Module *module }
			if err := d.Decode(&pkg); errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				return nil, err
			}
			if m := pkg.Module; m != nil && !m.Main && all[m.Path].Path == "" {
				if err := m.read(); err != nil {
					return nil, err
				}
				all[m.Path] = *m
			}
		}
	}
	return all, nil
}

// licenceFile matches the names of files with a licence.
var licenceFile = regexp.MustCompile(`(?i)^(licen[cs]e|copying|unlicense)([-.].*)?$`)

// read finds and reads the module's licence files.
func (m *module) read() error {
	entries, err := os.ReadDir(m.Dir)
	if err != nil {
		return err
	}
	found := map[string]bool{}
	for _, e := range entries {
		if e.IsDir() || !licenceFile.MatchString(e.Name()) {
			continue
		}
		path := filepath.Join(m.Dir, e.Name())
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		m.files = append(m.files, path)
		for _, name := range identify(string(text)) {
			found[name] = true
		}
	}
	if len(m.files) == 0 {
		found[unknown] = true
	}
	m.licences = slices.Sorted(maps.Keys(found))
	return nil
}

// identify returns the licences that a text contains, or unknown. The phrases are those
// that every copy of a licence has.
func identify(text string) (found []string) {
	text = strings.Join(strings.Fields(strings.ToLower(text)), " ")
	has := func(phrases ...string) bool {
		return !slices.ContainsFunc(phrases, func(p string) bool { return !strings.Contains(text, p) })
	}
	add := func(name string, yes bool) {
		if yes {
			found = append(found, name)
		}
	}
	mozilla := has("mozilla public license", "2.0")
	bsd := has("redistribution and use in source and binary forms, with or without modification, are permitted")
	endorse := has("endorse or promote products derived from")
	add("Apache-2.0", has("apache license", "version 2.0"))
	add("BSD-2-Clause", bsd && !endorse)
	add("BSD-3-Clause", bsd && endorse)
	add("ISC", has("permission to use, copy, modify, and", "distribute this software for any purpose with or without fee is hereby granted"))
	add("MIT", has("permission is hereby granted, free of charge, to any person obtaining a copy", "the above copyright notice and this permission notice shall be included"))
	add("MPL-2.0", mozilla)
	add("GPL", has("gnu") && has("general public license") && !mozilla) // MPL-2.0 names it as compatible
	for _, restrictive := range []string{"business source license", "server side public license", "commons clause", "elastic license"} {
		add(restrictive, has(restrictive))
	}
	if len(found) == 0 {
		return []string{unknown}
	}
	return found
}

// check returns an error for each module with a licence that is not allowed.
func check(all map[string]module, allowed []string) error {
	var faults []error
	for _, path := range slices.Sorted(maps.Keys(all)) {
		for _, name := range all[path].licences {
			if !slices.Contains(allowed, name) {
				faults = append(faults, fmt.Errorf("%s: licence %s is not one of %s", path, name, strings.Join(allowed, ", ")))
			}
		}
	}
	return errors.Join(faults...)
}

// writeTexts writes the texts of the licences of Go and of the modules, with the notices
// that Apache-2.0 asks to pass on.
func writeTexts(out io.Writer, all map[string]module) error {
	goroot, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		return err
	}
	files := []string{filepath.Join(strings.TrimSpace(string(goroot)), "LICENSE")}
	write := func(title string, paths []string) error {
		fmt.Fprintf(out, "%s\n%s\n%[1]s\n\n", strings.Repeat("=", 78), title)
		for _, path := range paths {
			text, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			fmt.Fprintf(out, "%s\n\n", bytes.TrimSpace(text))
		}
		return nil
	}
	if err := write("Go "+strings.TrimPrefix(runtime.Version(), "go"), files); err != nil {
		return err
	}
	for _, path := range slices.Sorted(maps.Keys(all)) {
		m := all[path]
		notice := filepath.Join(m.Dir, "NOTICE")
		if _, err := os.Stat(notice); err == nil {
			m.files = append(m.files, notice)
		}
		if err := write(m.Path+" "+m.Version, m.files); err != nil {
			return err
		}
	}
	return nil
}
