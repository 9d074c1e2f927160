package main

import (
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// mayImport is the direction of imports: what the packages of this module may import of
// each other. A pattern that ends in /... covers a package and those below it. A package's own
// name decides, otherwise the longest pattern that covers it. A package that none covers
// imports nothing of ours.
// Tests may import what they need.
var mayImport = map[string][]string{
	"cmd/...":     {"cmd/...", "node/...", "bus/...", "places/...", "bus/ratenote", "bus/plural"},
	"compose/...": {},

	"node":         {"node/replica", "node/follow", "node/geo", "node/nearest", "node/store", "node/wire", "node/status", "bus", "bus/batch", "bus/topology", "bus/printable", "places", "bus/ratenote", "bus/plural"},
	"node/opshttp": {"node", "node/replica", "node/status", "bus", "bus/printable", "places", "bus/ratenote", "bus/plural"},
	"node/replica": {"node/follow", "node/store", "node/wire", "bus/ratenote", "bus/plural"},
	"node/follow":  {"node/geo", "node/wire"},
	"node/store":   {"node/wire"},
	"node/nearest": {"node/geo", "node/store"},
	"node/geo":     {},
	"node/wire":    {}, // not even a package of another module, see standardOnly
	"node/status":  {"bus", "bus/printable", "bus/plural"},
	"node/journal": {"bus/ratenote", "bus/plural"},

	"bus":            {},
	"bus/topology":   {"bus/plural"},
	"bus/batch":      {"bus"},
	"bus/access/...": {"bus", "bus/topology", "bus/access/..."},
	"bus/natsbus":    {"bus", "bus/batch", "bus/printable", "bus/ratenote", "bus/plural"},
	"bus/embed":      {"bus/ratenote", "bus/plural"},
	"bus/bustest":    {"bus", "bus/batch", "bus/topology"},

	"places":     {"bus/ratenote", "bus/plural"},
	"places/...": {"places/...", "bus/ratenote", "bus/plural"},
}

// standardOnly are the packages that import nothing but the standard library.
var standardOnly = []string{"node/wire", "node/geo"}

func TestImports(t *testing.T) {
	t.Parallel()
	list := exec.Command("go", "list", "-f", `{{.ImportPath}} {{join .Imports " "}}`, "./...")
	list.Dir = "../.."
	out, err := list.Output()
	if err != nil {
		t.Fatal("go list:", err)
	}
	for line := range strings.Lines(string(out)) {
		fields := strings.Fields(line)
		importer := strings.TrimPrefix(fields[0], "herd/")
		allowed := mayImport[ruleFor(importer)]
		for _, imported := range fields[1:] {
			ours, isOurs := strings.CutPrefix(imported, "herd/")
			first, _, _ := strings.Cut(imported, "/")
			switch {
			case isOurs && !slices.ContainsFunc(allowed, func(pattern string) bool { return covers(pattern, ours) }):
				t.Errorf("%s imports %s, may import %v of this module", importer, ours, allowed)
			case strings.Contains(first, ".") && slices.Contains(standardOnly, importer):
				t.Errorf("%s imports %s, may import the standard library only", importer, imported)
			}
		}
	}
}

// ruleFor returns the pattern of mayImport that decides for a package.
func ruleFor(pkg string) (rule string) {
	if _, ok := mayImport[pkg]; ok {
		return pkg
	}
	for pattern := range mayImport {
		if covers(pattern, pkg) && len(pattern) > len(rule) {
			rule = pattern
		}
	}
	return rule
}

func covers(pattern, pkg string) bool {
	parent, below := strings.CutSuffix(pattern, "/...")
	return pkg == parent || below && strings.HasPrefix(pkg, parent+"/")
}
