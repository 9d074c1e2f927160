package compose_test

import (
	"bytes"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"
)

func read(t *testing.T, file string) []byte {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// TestToolchain checks that the images are built with the toolchain that go.mod names, for
// which .ci/vulncheck looks up vulnerabilities of the standard library.
func TestToolchain(t *testing.T) {
	module := regexp.MustCompile(`(?m)^toolchain go(\S+)$`).FindSubmatch(read(t, "../go.mod"))
	image := regexp.MustCompile(`(?m)^FROM golang:(\S+) AS build$`).FindSubmatch(read(t, "Dockerfile"))
	if module == nil || image == nil || !bytes.Equal(module[1], image[1]) {
		t.Errorf("Dockerfile builds with Go %q, go.mod names %q", image, module)
	}
}

// TestBuildContext checks that .dockerignore lets all packages into the build context.
func TestBuildContext(t *testing.T) {
	included := strings.Fields(string(read(t, "../.dockerignore")))
	out, err := exec.Command("go", "list", "-deps", "-f", "{{with .Module}}{{if .Main}}{{$.ImportPath}}{{end}}{{end}}", "../cmd/herd", "./install", "./mkdir", "./probe").Output()
	if err != nil {
		t.Fatal("go list:", err)
	}
	for pkg := range strings.FieldsSeq(string(out)) {
		dir := strings.TrimPrefix(pkg, "herd/")
		if !slices.ContainsFunc(included, func(pattern string) bool {
			return pattern == "!"+dir || strings.HasPrefix("!"+dir, pattern+"/")
		}) {
			t.Errorf(".dockerignore excludes %s", dir)
		}
	}
}
