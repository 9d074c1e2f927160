package main

import (
	"regexp"
	"slices"
	"strings"
	"time"
)

// volatile is what differs between two runs, and what replaces it. The rules are applied in
// order to what the page shows and to what the programs print.
var volatile = []struct {
	what *regexp.Regexp
	with string
}{
	{regexp.MustCompile(`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)`), "TIME"},
	{regexp.MustCompile(`[+-]\d+\.\d{9}\b`), "DIFFERENCE"},
	{regexp.MustCompile(`\b1[6-9]\d{8}(\.\d+)?\b`), "SECONDS"},
	{regexp.MustCompile(`\b1\d{18}\b`), "EPOCH"},
	{regexp.MustCompile(`\b[0-9a-f]{16}\b`), "DIGEST"},
	{regexp.MustCompile(`\bDIGEST( +)\d+ `), "DIGEST${1}CLIENTS "}, // a connection may count until shortly after it is closed
	{regexp.MustCompile(`\b[\d.,]+ ?(ns|µs|ms|s)\b`), "DURATION"},
	{regexp.MustCompile(`\b\d{1,3}(,\d{3})+\b`), "COUNT"},
	{regexp.MustCompile(`\b\d{3} `), "COUNT "},                            // the same, on a slow machine
	{regexp.MustCompile(`\b127\.0\.0\.1:[3-6]\d{4}\b`), "127.0.0.1:PORT"}, // a client's own port
	{regexp.MustCompile(`(?m)[ \t]+$`), ""},
	{regexp.MustCompile(`[ \t]+`), " "},
}

// compare compares a documented output with that of the last block and of the programs that
// still run.
func (r *reader) compare(page markdown, b block) {
	r.t.Helper()
	inAnyOrder := excepted(unordered, page.path, b) != ""
	last := r.pasted[len(r.pasted)-1].shellBlock
	var candidates []*shellBlock
	for _, p := range r.pasted {
		if p.shellBlock == last || !p.over() {
			candidates = append(candidates, p.shellBlock)
		}
	}
	var outputs []string
	same := func() bool {
		outputs = nil
		for _, run := range candidates {
			out := normalize(r.nominal.Replace(run.output(r.t)))
			outputs = append(outputs, out[max(0, len(out)-4096):])
			if inAnyOrder && hasLines(out, normalize(b.text)) || !inAnyOrder && expression(normalize(b.text), !run.over()).MatchString(out) {
				return true
			}
		}
		return false
	}
	for deadline := time.Now().Add(patience / 3); !same(); time.Sleep(20 * time.Millisecond) { // programs that run may still print
		if len(candidates) == 1 && last.over() || time.Now().After(deadline) {
			r.t.Errorf("%s:%d: the page has\n%s\nthe programs print\n%s", page.path, b.line, normalize(b.text), strings.Join(outputs, "--\n"))
			return
		}
	}
}

func normalize(text string) string {
	for _, v := range volatile {
		text = v.what.ReplaceAllString(text, v.with)
	}
	return strings.Trim(text, "\n") + "\n"
}

// hasLines reports whether each documented line is a line of output of its own, in any order.
func hasLines(output, documented string) bool {
	lines := slices.Collect(strings.Lines(output))
	for want := range strings.Lines(documented) {
		re := expression(want, false)
		i := slices.IndexFunc(lines, re.MatchString)
		if i < 0 {
			return false
		}
		lines = slices.Delete(lines, i, i+1)
	}
	return true
}

// expression matches output as documented: all of it, or a part of it.
func expression(documented string, part bool) *regexp.Regexp {
	var e strings.Builder
	for line := range strings.Lines(documented) {
		if line == "…\n" {
			e.WriteString(`(?:.*\n)*`)
			continue
		}
		e.WriteString(strings.ReplaceAll(regexp.QuoteMeta(line), "…", ".*"))
	}
	if part {
		return regexp.MustCompile(`(?m)^` + e.String())
	}
	return regexp.MustCompile(`^` + e.String() + `$`)
}
