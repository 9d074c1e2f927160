// Package status is the state of a server as operators see it: one value, which the
// bus's micro service returns and which `herd status` prints.
package status

import (
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// The endpoints at which a server answers requests of tools over the bus, each at its
// own subject.
const (
	EdgesEndpoint  = "edges"  // its edges, as a table
	RecordEndpoint = "get"    // the record of the client that the request names
	Endpoint       = "status" // a Server, as JSON
)

// Endpoints is all of them.
var Endpoints = []string{EdgesEndpoint, RecordEndpoint, Endpoint}

// Server is the state of one server.
type Server struct {
	Server   string    `json:"server"`
	Epoch    uint64    `json:"epoch"`    // identifies this run of it
	Topology string    `json:"topology"` // hash of the graph
	Clock    time.Time `json:"clock"`    // when this was its state, by its own clock
	Ready    bool      `json:"ready"`
	Why      string    `json:"why,omitempty"` // it is not ready
	Records  int       `json:"records"`       // clients in its map
	Digest   string    `json:"digest"`        // of the records: equal for equal maps
	Clients  int       `json:"clients"`       // connections
	Edges    []Edge    `json:"edges"`
	Journal  string    `json:"journal,omitempty"` // what could not be read of it at the start
}

// Edge is the state of an edge as one of its ends sees it.
type Edge struct {
	Peer      string  `json:"peer"`
	Up        bool    `json:"up"`
	InStep    bool    `json:"in_step"`
	Repairing bool    `json:"repairing"` // a comparison runs
	Waiting   int     `json:"waiting"`   // records queued for the neighbour
	BeatAge   float64 `json:"beat_age"`  // seconds since the neighbour's last heartbeat; -1 for none yet

	// Counts since the server started: records sent, and received by the result of merging
	// them; messages of the neighbour that were lost; comparisons that ended, and the
	// records that were news in what they brought.
	Sent       uint64 `json:"sent"`
	News       uint64 `json:"news"`
	Duplicates uint64 `json:"duplicates"`
	Stale      uint64 `json:"stale"`
	Lost       uint64 `json:"lost"`
	Repairs    uint64 `json:"repairs"`
	Repaired   uint64 `json:"repaired"`
}

// Herd is what the servers of a herd say of themselves, sorted as its topology
// is; Missing are those that said nothing.
type Herd struct {
	Servers []Server `json:"servers"`
	Missing []string `json:"missing"`
}

// Gather makes a Herd of what servers said, in the order of names. Others are left
// out, and of a server that spoke twice what it said last counts.
func Gather(names []string, said []Server) (h Herd) {
	h.Servers, h.Missing = []Server{}, []string{}
	for _, name := range names {
		var of []Server
		for _, s := range said {
			if s.Server == name {
				of = append(of, s)
			}
		}
		if len(of) == 0 {
			h.Missing = append(h.Missing, name)
			continue
		}
		h.Servers = append(h.Servers, slices.MaxFunc(of, func(a, b Server) int { return a.Clock.Compare(b.Clock) }))
	}
	return h
}

// InStep tells whether all servers spoke and all their edges are in step.
func (h Herd) InStep() bool {
	for _, s := range h.Servers {
		for _, e := range s.Edges {
			if !e.InStep {
				return false
			}
		}
	}
	return len(h.Missing) == 0
}

// Equal tells whether all servers spoke and hold the same map. Under load they
// never do at one moment.
func (h Herd) Equal() bool {
	for _, s := range h.Servers {
		if s.Digest != h.Servers[0].Digest {
			return false
		}
	}
	return len(h.Missing) == 0
}

// Text is the herd at a glance.
func (h Herd) Text() string {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "SERVER\tREADY\tRECORDS\tDIGEST\tCLIENTS\tNEIGHBOURS")
	for _, s := range h.Servers {
		ready := "yes"
		if !s.Ready {
			ready = "no"
		}
		var edges []string
		for _, e := range s.Edges {
			edges = append(edges, e.text())
		}
		fmt.Fprintf(w, "%s\t%s\t%d\t%s\t%d\t%s\n", s.Server, ready, s.Records, s.Digest, s.Clients, strings.Join(edges, ", "))
	}
	for _, name := range h.Missing {
		fmt.Fprintf(w, "%s\tno answer\t\t\t\t\n", name)
	}
	w.Flush()
	fmt.Fprintln(&b)
	for _, s := range h.Servers {
		if s.Why != "" {
			fmt.Fprintln(&b, s.Why)
		}
		if s.Journal != "" {
			fmt.Fprintf(&b, "%s: journal: %s\n", s.Server, s.Journal)
		}
	}
	steps, maps := "all edges in step", "all maps equal"
	if !h.InStep() {
		steps = "NOT all edges in step"
	}
	if !h.Equal() {
		maps = "maps not equal at this moment"
	}
	fmt.Fprintf(&b, "%d of %d servers, %s, %s\n", len(h.Servers), len(h.Servers)+len(h.Missing), steps, maps)
	return b.String()
}

// EdgesText is the server's edges at a glance, and what came and went over them.
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
		return "never heard"
	case !e.Up:
		return fmt.Sprintf("down, heard %.0f s ago", e.BeatAge)
	case e.Repairing:
		return "repairing"
	case !e.InStep:
		return "not in step"
	}
	return "in step"
}

func (e Edge) text() string {
	state := e.state()
	if e.Waiting > 0 {
		state += fmt.Sprintf(", %d waiting", e.Waiting)
	}
	return e.Peer + " (" + state + ")"
}
