package main

import (
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/alecthomas/kong"
	"github.com/google/go-cmp/cmp"
)

// commandsPage documents the commands and the settings.
const commandsPage = "cmd/herd/README.md"

// TestDocumentedSettings: the table of settings lists the variables of the program, in its
// order, with its defaults and with the commands that read them. A meaning names no other
// command.
func TestDocumentedSettings(t *testing.T) {
	t.Parallel()
	var want, got [][]string
	for _, v := range variables() {
		want = append(want, []string{v.name, v.fallback, strings.Join(v.commands, " ")})
	}
	var commandNames []string
	for _, c := range model().Children {
		commandNames = append(commandNames, c.Name)
	}
	for _, cells := range parseMarkdown(t, commandsPage, readFile(t, commandsPage)).table(t, "variable") {
		name, readBy := strings.Trim(cells[0], "`"), cells[2]
		got = append(got, []string{name, strings.Trim(cells[1], "`"), readBy})
		for _, code := range inlineCode.FindAllString(cells[3], -1) {
			if code = strings.Trim(code, "`"); slices.Contains(commandNames, code) && !slices.Contains(strings.Fields(readBy), code) {
				t.Errorf("%s: the meaning of %s has %s, which does not read it", commandsPage, name, code)
			}
		}
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("settings of %s (-program +page):\n%s", commandsPage, d)
	}
}

// TestDocumentedCommands: the table of commands lists the commands of the program, in its
// order.
func TestDocumentedCommands(t *testing.T) {
	t.Parallel()
	var want, got []string
	for _, c := range kong.Must(&commands{}, kong.Name("herd")).Model.Children {
		want = append(want, c.Name)
	}
	for _, cells := range parseMarkdown(t, commandsPage, readFile(t, commandsPage)).table(t, "command") {
		words := strings.Fields(strings.Trim(cells[0], "`"))
		if len(words) < 2 || words[0] != "herd" {
			t.Errorf("%s: %q does not begin with herd and a command", commandsPage, cells[0])
			continue
		}
		got = append(got, words[1])
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("commands of %s (-program +page):\n%s", commandsPage, d)
	}
}

// TestREADMEIsShort: the first page has 200 lines at most. More belongs to the directory
// that it is about.
func TestREADMEIsShort(t *testing.T) {
	t.Parallel()
	if lines := strings.Count(readFile(t, "README.md"), "\n"); lines > 200 {
		t.Errorf("README.md has %d lines, want at most 200", lines)
	}
}

// TestTopologyPicture: the diagram on the page of the commands is what herd topology prints.
func TestTopologyPicture(t *testing.T) {
	t.Parallel()
	p := start(t, nil, "topology", "--format", "mermaid")
	p.status()
	page := parseMarkdown(t, commandsPage, readFile(t, commandsPage))
	for _, s := range page.sections {
		for _, b := range s.blocks {
			if b.language == "mermaid" {
				if d := cmp.Diff(p.stdout.String(), b.text); d != "" {
					t.Errorf("%s:%d: (-herd topology --format mermaid +page):\n%s", commandsPage, b.line, d)
				}
				return
			}
		}
	}
	t.Errorf("%s has no mermaid block", commandsPage)
}

var (
	inlineCode = regexp.MustCompile("`[^`\n]*`")
	linkTarget = regexp.MustCompile(`\]\(([^)\s]+)\)`)
)

// TestLinks: relative links of all pages lead to files and headings that exist.
func TestLinks(t *testing.T) {
	t.Parallel()
	pages := map[string]markdown{}
	for _, m := range readMarkdown(t) {
		pages[m.path] = m
	}
	for _, m := range pages {
		for _, s := range m.sections {
			for _, link := range linkTarget.FindAllStringSubmatch(inlineCode.ReplaceAllString(s.heading+"\n"+s.prose, "`"), -1) {
				if strings.Contains(link[1], "://") || strings.HasPrefix(link[1], "mailto:") {
					continue
				}
				target, anchor, _ := strings.Cut(link[1], "#")
				file := m.path
				if target != "" {
					file = path.Join(path.Dir(m.path), target)
				}
				if _, err := os.Stat(filepath.Join(repository, file)); err != nil {
					t.Errorf("%s, %q: the link %s leads nowhere", m.path, s.heading, link[1])
				} else if page, ok := pages[file]; anchor != "" && (!ok || !page.anchors()[anchor]) {
					t.Errorf("%s, %q: the link %s leads to no heading of %s", m.path, s.heading, link[1], file)
				}
			}
		}
	}
}

var mentionedPage = regexp.MustCompile(`([A-Za-z0-9_./-]*[A-Za-z0-9_]\.md)(?:#([a-z0-9-]+)|, "([^"\n]+)")?`)

// TestMentionedPages: the pages, and the headings in quotes behind them, that comments and
// other texts mention exist. A page is found in the directory of the text or from the root
// of the repository.
func TestMentionedPages(t *testing.T) {
	t.Parallel()
	pages := map[string]markdown{}
	for _, m := range readMarkdown(t) {
		pages[m.path] = m
	}
	for _, file := range repositoryFiles(t) {
		if filepath.Ext(file) == ".md" || slices.Contains([]string{"cmd/herd/docs_test.go", "cmd/herd/markdown_test.go"}, file) {
			continue
		}
		text := readFile(t, file)
		if !utf8.ValidString(text) {
			continue
		}
		for _, mention := range mentionedPage.FindAllStringSubmatch(text, -1) {
			if strings.HasPrefix(mention[1], "//") { // the rest of a URL
				continue
			}
			page, ok := pages[path.Join(path.Dir(file), mention[1])]
			if !ok {
				page, ok = pages[strings.TrimPrefix(mention[1], "/")]
			}
			switch {
			case !ok:
				t.Errorf("%s mentions %s, which does not exist", file, mention[1])
			case mention[2] != "" && !page.anchors()[mention[2]]:
				t.Errorf("%s mentions %s: there is no such heading", file, mention[0])
			case mention[3] != "" && !slices.ContainsFunc(page.sections, func(s section) bool { return strings.HasPrefix(s.heading, mention[3]) }):
				t.Errorf("%s mentions %s: there is no such heading", file, mention[0])
			}
		}
	}
}
