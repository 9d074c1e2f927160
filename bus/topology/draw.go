package topology

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"herd/bus/plural"
)

// Text returns the graph as text: one line per server, with its neighbours.
func (g *Graph) Text() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s, %s\n", plural.Count(len(g.servers), "server"), plural.Count(len(g.edges), "edge"))
	width := 0
	for _, s := range g.servers {
		width = max(width, len(s))
	}
	for _, s := range g.servers {
		b.WriteString(strings.TrimRight(fmt.Sprintf("%-*s  %s", width, s, strings.Join(g.Neighbours(s), " ")), " ") + "\n")
	}
	return b.String()
}

// DOT returns the graph in Graphviz's language.
func (g *Graph) DOT() string {
	name := func(s string) string {
		if '0' <= s[0] && s[0] <= '9' || slices.Contains(dotKeywords, strings.ToLower(s)) {
			return strconv.Quote(s)
		}
		return s
	}
	var b strings.Builder
	fmt.Fprintln(&b, "graph herd {")
	for _, s := range g.servers {
		fmt.Fprintf(&b, "  %s;\n", name(s))
	}
	for _, e := range g.edges {
		fmt.Fprintf(&b, "  %s -- %s;\n", name(e.A), name(e.B))
	}
	fmt.Fprintln(&b, "}")
	return b.String()
}

// Mermaid returns the graph in Mermaid's language, which Markdown viewers draw.
func (g *Graph) Mermaid() string {
	node := func(s string) string {
		if slices.Contains(mermaidKeywords, strings.ToLower(s)) {
			return "_" + s
		}
		return s
	}
	var b strings.Builder
	fmt.Fprintln(&b, "graph LR")
	for _, s := range g.servers {
		if node(s) == s {
			fmt.Fprintf(&b, "  %s\n", s)
		} else {
			fmt.Fprintf(&b, "  %s[%s]\n", node(s), s)
		}
	}
	for _, e := range g.edges {
		fmt.Fprintf(&b, "  %s --- %s\n", node(e.A), node(e.B))
	}
	return b.String()
}

// Keywords of the two languages, which an unquoted node must not have as its name.
var (
	dotKeywords     = []string{"node", "edge", "graph", "digraph", "subgraph", "strict"}
	mermaidKeywords = []string{"end", "graph", "flowchart", "subgraph", "direction", "style", "linkstyle", "class", "classdef", "click", "default"}
)
