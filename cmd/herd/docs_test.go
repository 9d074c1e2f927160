package main

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/alecthomas/kong"
	"github.com/google/go-cmp/cmp"
)

// TestReadmeSettings: the table of settings in README.md lists the variables of the
// program, in its order and with its defaults.
func TestReadmeSettings(t *testing.T) {
	t.Parallel()
	var want, got []string
	for _, v := range variables() {
		want = append(want, v.name+" "+v.fallback)
	}
	for _, cells := range readmeTable(t, "variable") {
		got = append(got, strings.Trim(cells[0], "`")+" "+strings.Trim(cells[1], "`"))
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("README.md's settings (-program +README.md):\n%s", d)
	}
}

// TestReadmeCommands: the table of commands in README.md lists the commands of the
// program, in any order.
func TestReadmeCommands(t *testing.T) {
	t.Parallel()
	var want, got []string
	for _, c := range kong.Must(&commands{}, kong.Name("herd")).Model.Children {
		want = append(want, c.Name)
	}
	for _, cells := range readmeTable(t, "command") {
		words := strings.Fields(strings.Trim(cells[0], "`"))
		if len(words) < 2 || words[0] != "herd" {
			t.Errorf("README.md's commands: %q does not begin with herd and a command", cells[0])
			continue
		}
		got = append(got, words[1])
	}
	slices.Sort(want)
	slices.Sort(got)
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("README.md's commands (-program +README.md):\n%s", d)
	}
}

// readmeTable returns the cells of the rows of the table in README.md whose first column
// has that head.
func readmeTable(t *testing.T, head string) (rows [][]string) {
	t.Helper()
	text, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	tables := regexp.MustCompile(`(?m)^\| `+head+` \|.*\n\|[-:|]+\|\n((?:\|.*\n)+)`).FindAllStringSubmatch(string(text), -1)
	if len(tables) != 1 {
		t.Fatalf("README.md has %d tables with the head %q, want 1", len(tables), head)
	}
	escaped := strings.NewReplacer(`\|`, "\x00")
	for row := range strings.Lines(tables[0][1]) {
		var cells []string
		for _, cell := range strings.Split(strings.Trim(escaped.Replace(strings.TrimSpace(row)), "|"), "|") {
			cells = append(cells, strings.TrimSpace(strings.ReplaceAll(cell, "\x00", "|")))
		}
		rows = append(rows, cells)
	}
	return rows
}
