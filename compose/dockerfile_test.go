package compose_test

import (
	"os"
	"regexp"
	"testing"
)

// TestToolchain checks that the images are built with the toolchain that go.mod names, for
// which .ci/vulncheck looks up vulnerabilities of the standard library.
func TestToolchain(t *testing.T) {
	version := func(file, pattern string) string {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		match := regexp.MustCompile(pattern).FindSubmatch(text)
		if match == nil {
			t.Fatalf("%s: no line matches %s", file, pattern)
		}
		return string(match[1])
	}
	module := version("../go.mod", `(?m)^toolchain go(\S+)$`)
	if image := version("Dockerfile", `(?m)^FROM golang:(\S+) AS build$`); image != module {
		t.Errorf("Dockerfile builds with Go %s, go.mod names %s", image, module)
	}
}
