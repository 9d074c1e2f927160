package status

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"text/tabwriter"

	"herd/bus/plural"
)

var trailingBlanks = regexp.MustCompile(` +\n`)

// Text formats the herd as a table, followed by problems and a summary.
func (h Herd) Text() string {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "SERVER\tREADY\tRECORDS\tDIGEST\tCLIENTS\tNEIGHBOURS")
	for _, name := range h.order {
		s, replied := h.server(name)
		if !replied {
			fmt.Fprintf(w, "%s\tno reply\t\t\t\t\n", name)
			continue
		}
		ready := "yes"
		if !s.Ready {
			ready = "no"
		}
		fmt.Fprintf(w, "%s\t%s\t%d\t%s\t%d\t%s\n", s.Server, ready, s.Records, s.Digest, s.Clients, h.edgesText(s.Edges))
	}
	w.Flush()
	table := trailingBlanks.ReplaceAllString(b.String(), "\n")
	b.Reset()
	b.WriteString(table + "\n")
	for _, s := range h.Servers {
		for _, e := range s.Edges {
			if e.InStep && e.Problem != "" {
				fmt.Fprintf(&b, "note: %s: %s\n", s.Server, e.Problem)
			}
		}
		if s.Journal != "" {
			fmt.Fprintf(&b, "note: %s: journal: %s\n", s.Server, s.Journal)
		}
	}
	for _, p := range h.Problems {
		fmt.Fprintf(&b, "problem: %s\n", p)
	}
	steps, maps := "all edges in step", "all maps equal"
	if !h.InStep() {
		steps = "NOT all edges in step"
	}
	switch h.Maps {
	case Changing:
		maps = "maps are changing"
	case Unequal:
		maps = "maps NOT equal"
	case Unknown:
		maps = "not known whether maps are equal"
	}
	fmt.Fprintf(&b, "%s, %s, %s\n", plural.Of(len(h.Servers), len(h.Servers)+len(h.Missing), "server"), steps, maps)
	return b.String()
}

// EdgesText formats the server's edges and their counts as a table.
func (s Server) EdgesText() string {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "EDGE\tSTATE\tWAITING\tSENT\tNEWS\tDUPLICATE\tSTALE\tLOST\tREPAIRS\tREPAIRED")
	for _, e := range s.Edges {
		fmt.Fprintf(w, "%s-%s\t%s\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%d\n", s.Server, e.Peer, e.state(), e.Waiting,
			e.Sent, e.News, e.Duplicates, e.Stale, e.Lost, e.Repairs, e.Repaired)
	}
	w.Flush()
	return b.String()
}

func (e Edge) state() string {
	switch {
	case !e.Up && e.BeatAge < 0:
		return "down, no heartbeat yet"
	case !e.Up:
		return fmt.Sprintf("down, last heartbeat %.0f s ago", e.BeatAge)
	case e.Repairing:
		return "repairing"
	case !e.InStep:
		return "not in step"
	}
	return "in step"
}

// edgesText is the state of edges: each neighbour with a state of its own, those that have
// the same one behind each other once.
func (h Herd) edgesText(edges []Edge) string {
	var groups []string
	for i, e := range edges {
		text := e.Peer
		if state := h.edgeState(e); i == len(edges)-1 || h.edgeState(edges[i+1]) != state {
			text += " (" + state + ")"
		}
		groups = append(groups, text)
	}
	return strings.Join(groups, ", ")
}

// edgeState is the state of an edge. A neighbour that does not reply may have stopped a
// moment ago, before its neighbours notice: its edges are not called in step.
func (h Herd) edgeState(e Edge) string {
	state := e.state()
	if e.Up && slices.Contains(h.Missing, e.Peer) {
		state = "no reply"
	}
	if e.Waiting > 0 {
		state += fmt.Sprintf(", %d waiting", e.Waiting)
	}
	return state
}
