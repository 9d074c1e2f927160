package main

import (
	"go/parser"
	"go/token"
	"regexp"
	"testing"
)

// TestFaults: every fault of the list can be put in, and leaves a file that parses. Whether
// the tests notice them is what the command shows.
func TestFaults(t *testing.T) {
	t.Parallel()
	root, err := moduleRoot()
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]bool{}
	for _, f := range faults {
		content, err := f.apply(root)
		if err != nil {
			t.Errorf("%s: %v", f.name, err)
			continue
		}
		if _, err := parser.ParseFile(token.NewFileSet(), f.file, content, parser.SkipObjectResolution); err != nil {
			t.Errorf("%s: %v", f.name, err)
		}
		if _, err := regexp.Compile(f.tests); err != nil || names[f.name] {
			t.Errorf("%s: %v, or a second fault of that name", f.name, err)
		}
		names[f.name] = true
	}
	if len(faults) < 25 {
		t.Errorf("%d faults, want at least 25", len(faults))
	}
}

// TestTry: a fault that no test can notice is reported, and so is one that does not compile.
func TestTry(t *testing.T) {
	if testing.Short() {
		t.Skip("it compiles packages")
	}
	t.Parallel()
	root, err := moduleRoot()
	if err != nil {
		t.Fatal(err)
	}
	for new, want := range map[string]string{
		"package main // a comment": "pass with it",
		"package main; func {":      "no test failed",
	} {
		f := fault{"none", "cmd/internal/mutants/main_test.go", "package main\n\nimport (\n\t\"go/parser\"", new + "\n\nimport (\n\t\"go/parser\"", "cmd/internal/mutants", "TestFaults"}
		if err := f.try(root); err == nil || !regexp.MustCompile(want).MatchString(err.Error()) {
			t.Errorf("%q: %v, want %q", new, err, want)
		}
	}
}
