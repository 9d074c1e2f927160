package topology

import (
	"fmt"
	"strings"
	"text/tabwriter"
)

// Text is the graph for people: a line for each server, with its neighbours.
func (g *Graph) Text() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s, %s\n", count(len(g.servers), "server"), count(len(g.edges), "edge"))
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	for _, s := range g.servers {
		fmt.Fprintf(w, "%s\t%s\n", s, strings.Join(g.Neighbours(s), " "))
	}
	w.Flush()
	return b.String()
}

// DOT is the graph for Graphviz.
func (g *Graph) DOT() string { return g.draw("graph herd {", "  %[1]q;", "  %q -- %q;", "}\n") }

// Mermaid is the graph for Mermaid, as Markdown viewers draw it. Some names would
// be words of its language, so nodes have others and names are labels.
func (g *Graph) Mermaid() string {
	return g.draw("graph LR", "  s_%[1]s[%[1]s]", "  s_%s --- s_%s", "")
}

func (g *Graph) draw(head, server, edge, foot string) string {
	var b strings.Builder
	fmt.Fprintln(&b, head)
	for _, s := range g.servers {
		fmt.Fprintf(&b, server+"\n", s)
	}
	for _, e := range g.edges {
		fmt.Fprintf(&b, edge+"\n", e.A, e.B)
	}
	return b.String() + foot
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprint(n, " ", what, "s")
}
