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

// TestNotices checks that each image has the licence of herd and its notices, and that they are in
// the build context.
func TestNotices(t *testing.T) {
	const files = "LICENSE NOTICE THIRD_PARTY_NOTICES.md"
	included := strings.Fields(string(read(t, "../.dockerignore")))
	for _, file := range strings.Fields(files) {
		if !slices.Contains(included, "!"+file) {
			t.Errorf(".dockerignore excludes %s", file)
		}
	}
	copies := regexp.MustCompile(`(?m)^COPY ` + files + ` /licences/(herd/)?$`)
	stages := regexp.MustCompile(`(?m)^FROM \S+ AS (\w+)$`)
	text := string(read(t, "Dockerfile"))
	names := stages.FindAllStringSubmatch(text, -1)
	for i, stage := range stages.Split(text, -1)[1:] {
		if name := names[i][1]; name != "build" && name != "monitoring" && !copies.MatchString(stage) {
			t.Errorf("the image %s has no copy of %s", name, files)
		}
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
