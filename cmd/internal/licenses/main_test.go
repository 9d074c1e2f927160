package main

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const (
	mit = `MIT License. Permission is hereby granted, free of charge, to any person obtaining a copy of this software.
The above copyright notice and this permission notice shall be
included in all copies.`
	bsd2 = `Redistribution and use in source and binary forms, with or without modification, are permitted provided that`
	bsd3 = bsd2 + ` neither the name of the owner may be used to endorse or promote products derived from this software.`
)

func TestIdentify(t *testing.T) {
	t.Parallel()
	for text, want := range map[string][]string{
		mit:        {"MIT"},
		bsd2:       {"BSD-2-Clause"},
		bsd3:       {"BSD-3-Clause"},
		mit + bsd3: {"BSD-3-Clause", "MIT"},
		"Apache License\n  Version 2.0, January 2004": {"Apache-2.0"},
		"Permission to use, copy, modify, and/or distribute this software for any purpose with or without fee is hereby granted.": {"ISC"},
		"Mozilla Public License Version 2.0. Secondary License: the GNU General Public License, Version 2.0":                      {"MPL-2.0"},
		"GNU GENERAL PUBLIC LICENSE\nVersion 3, 29 June 2007":                                                                     {"GPL"},
		"GNU AFFERO GENERAL PUBLIC LICENSE":                                                                                       {"GPL"},
		mit + "\nCommons Clause License Condition":                                                                                {"MIT", "commons clause"},
		"Business Source License 1.1":                                                                                             {"business source license"},
		"All rights reserved.":                                                                                                    {unknown},
	} {
		if got := identify(text); !slices.Equal(got, want) {
			t.Errorf("identify(%q) = %q, want %q", text, got, want)
		}
	}
}

// TestRead: all licence files of a module count, and a module without one is unknown.
func TestRead(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		files map[string]string
		want  []string
	}{
		{nil, []string{unknown}},
		{map[string]string{"license.go": "package license", "README": mit}, []string{unknown}},
		{map[string]string{"LICENSE.txt": mit}, []string{"MIT"}},
		{map[string]string{"COPYING": mit, "LICENSE-THIRD-PARTY": "GNU General Public License"}, []string{"GPL", "MIT"}},
	} {
		m := module{Dir: t.TempDir()}
		for name, text := range tt.files {
			if err := os.WriteFile(filepath.Join(m.Dir, name), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if err := m.read(); err != nil || !slices.Equal(m.licences, tt.want) {
			t.Errorf("%v: licences %q (%v), want %q", tt.files, m.licences, err, tt.want)
		}
	}
}

func TestCheck(t *testing.T) {
	t.Parallel()
	all := map[string]module{"a": {licences: []string{"MIT"}}, "b": {licences: []string{"MIT", "GPL"}}, "c": {licences: []string{"MPL-2.0"}}, "d": {licences: []string{unknown}}}
	for want, allowed := range map[string][]string{"b c d": allowedInPrograms, "b d": allowedInTests} {
		var got []string
		for line := range strings.Lines(check(all, allowed).Error()) {
			name, _, _ := strings.Cut(line, ":")
			got = append(got, name)
		}
		if strings.Join(got, " ") != want {
			t.Errorf("not allowed: %q, want %s", got, want)
		}
	}
}

// TestRepository: the licences of this repository's modules are allowed, and the texts
// that are passed on include those of a module and of Go.
func TestRepository(t *testing.T) {
	t.Chdir("../../..")
	var out bytes.Buffer
	if err := run(&out, ""); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"github.com/nats-io/nats.go ", "pgregory.net/rapid ", " MPL-2.0 ", " tests and tools\n"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in\n%s", want, out.String())
		}
	}
	file := filepath.Join(t.TempDir(), "texts")
	if err := run(&out, file); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"\nGo 1.", "The Go Authors", "\ngithub.com/nats-io/nats-server/v2 v2", "\ngithub.com/prometheus/procfs v", "procfs provides functions to retrieve system"} {
		if !strings.Contains(string(text), want) {
			t.Errorf("the texts lack %q", want)
		}
	}
}

// TestNotices: both notices have the attribution of every source of the gazetteer, and
// name the licences that this program allows.
func TestNotices(t *testing.T) {
	t.Parallel()
	read := func(path string) string {
		t.Helper()
		text, err := os.ReadFile(filepath.Join("../../..", path))
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	notice, page := read("NOTICE"), read("THIRD_PARTY_NOTICES.md")
	sources := regexp.MustCompile(`(?m)^\| .* \| .* \| .* \| "(.+)" (?:Not r|R)equired\. \|$`).FindAllStringSubmatch(read("places/gazetteer/README.md"), -1)
	if len(sources) != 6 {
		t.Fatalf("the gazetteer's README has %d sources, want 6", len(sources))
	}
	for _, source := range sources {
		for name, text := range map[string]string{"NOTICE": notice, "THIRD_PARTY_NOTICES.md": page} {
			if !strings.Contains(text, source[1]) {
				t.Errorf("%s lacks %q", name, source[1])
			}
		}
	}
	for _, row := range []string{
		"| in the programs | " + strings.Join(allowedInPrograms, ", ") + " |\n",
		"| also " + strings.Join(allowedInTests[len(allowedInPrograms):], ", ") + " |\n",
	} {
		if !strings.Contains(page, row) {
			t.Errorf("THIRD_PARTY_NOTICES.md lacks the row %q", row)
		}
	}
	for path, want := range map[string]string{"LICENSE": "Copyright 2026 the herd authors", "NOTICE": "Copyright 2026 the herd authors"} {
		if !strings.Contains(read(path), want) {
			t.Errorf("%s lacks %q", path, want)
		}
	}
}
