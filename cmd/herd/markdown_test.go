package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// repository is the root of the repository, relative to this package.
const repository = "../.."

// markdown is a file of documentation.
type markdown struct {
	path     string // relative to the repository
	sections []section
}

// section is a heading and what follows it, up to the next heading of any level.
type section struct {
	heading string // without #; "" before the first heading
	prose   string // without fenced blocks
	blocks  []block
}

// block is a fenced block.
type block struct {
	line     int    // of its fence
	language string // "" for output
	text     string // each line ends with a line feed
}

// repositoryFiles returns the files that git tracks or would track, relative to the
// repository. It skips the test where the repository is not a git checkout.
func repositoryFiles(t *testing.T) []string {
	t.Helper()
	list := exec.Command("git", "ls-files", "--cached", "--others", "--exclude-standard")
	list.Dir = repository
	out, err := list.Output()
	if err != nil {
		t.Skipf("git ls-files: %v", err)
	}
	var files []string
	for path := range strings.Lines(string(out)) {
		path = strings.TrimSuffix(path, "\n")
		if _, err := os.Stat(filepath.Join(repository, path)); err == nil { // else it is deleted
			files = append(files, path)
		}
	}
	return files
}

// readMarkdown returns all files of documentation.
func readMarkdown(t *testing.T) (all []markdown) {
	t.Helper()
	for _, path := range repositoryFiles(t) {
		if filepath.Ext(path) == ".md" {
			all = append(all, parseMarkdown(t, path, readFile(t, path)))
		}
	}
	return all
}

func readFile(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(repository, path))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

var heading = regexp.MustCompile(`^#{1,6} +(.*?)\s*$`)

func parseMarkdown(t *testing.T, path, text string) markdown {
	t.Helper()
	m := markdown{path: path, sections: []section{{}}}
	var open *block
	number := 0
	for line := range strings.Lines(text) {
		number++
		s := &m.sections[len(m.sections)-1]
		switch {
		case open != nil && strings.TrimSpace(line) == "```":
			s.blocks = append(s.blocks, *open)
			open = nil
		case open != nil:
			open.text += line
		case strings.HasPrefix(line, "```"):
			open = &block{line: number, language: strings.TrimSpace(line[3:])}
		case heading.MatchString(line):
			m.sections = append(m.sections, section{heading: heading.FindStringSubmatch(line)[1]})
		default:
			s.prose += line
		}
	}
	if open != nil {
		t.Errorf("%s:%d: the block does not end", path, open.line)
	}
	return m
}

var (
	notInAnchors = regexp.MustCompile(`[^\p{L}\p{N}_\- ]`)
	markdownLink = regexp.MustCompile(`\[([^\]]*)\]\([^)]*\)`)
)

// anchors returns the anchors of a file's headings, as GitHub makes them.
func (m markdown) anchors() map[string]bool {
	all := map[string]bool{}
	for _, s := range m.sections {
		text := markdownLink.ReplaceAllString(s.heading, "$1")
		anchor := strings.ReplaceAll(notInAnchors.ReplaceAllString(strings.ToLower(text), ""), " ", "-")
		all[anchor] = true
	}
	return all
}

// table returns the cells of the rows of the only table whose first column has that head.
func (m markdown) table(t *testing.T, head string) (rows [][]string) {
	t.Helper()
	var prose strings.Builder
	for _, s := range m.sections {
		prose.WriteString(s.prose + "\n")
	}
	tables := regexp.MustCompile(`(?m)^\| `+regexp.QuoteMeta(head)+` \|.*\n\|[-:|]+\|\n((?:\|.*\n)+)`).FindAllStringSubmatch(prose.String(), -1)
	if len(tables) != 1 {
		t.Fatalf("%s has %d tables with the head %q, want 1", m.path, len(tables), head)
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
