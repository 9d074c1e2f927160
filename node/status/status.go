// Package status is the state of a server as operators see it. The server's micro service
// returns it, and `herd status` prints it.
package status

import (
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// The endpoints of the micro service, each with a subject of its own.
const (
	EdgesEndpoint  = "edges"  // its edges, as a table
	RecordEndpoint = "get"    // the record of the client that the request names
	Endpoint       = "status" // a Server, as JSON
)

// Endpoints lists all endpoints.
var Endpoints = []string{EdgesEndpoint, RecordEndpoint, Endpoint}

// Server is the state of one server.
type Server struct {
	Server   string    `json:"server"`
	Epoch    uint64    `json:"epoch"`    // identifies this run of the server
	Topology string    `json:"topology"` // hash of the graph
	Clock    time.Time `json:"clock"`    // its clock when it returned this
	Ready    bool      `json:"ready"`
	Why      string    `json:"why,omitempty"` // reason for not being ready
	Records  int       `json:"records"`       // clients in its map
	Digest   string    `json:"digest"`        // of the records: equal for equal maps
	Clients  int       `json:"clients"`       // open connections
	Edges    []Edge    `json:"edges"`
	Journal  string    `json:"journal,omitempty"` // damage found in the journal at the start
}

// Edge is the state of an edge as the server at one of its ends sees it.
type Edge struct {
	Peer      string  `json:"peer"`
	Up        bool    `json:"up"`
	InStep    bool    `json:"in_step"`
	Repairing bool    `json:"repairing"` // a comparison runs
	Waiting   int     `json:"waiting"`   // records queued for the neighbour
	BeatAge   float64 `json:"beat_age"`  // seconds since the neighbour's last heartbeat; -1 for none yet

	// Counts since the server started.
	Sent       uint64 `json:"sent"`       // records sent
	News       uint64 `json:"news"`       // records received that were news
	Duplicates uint64 `json:"duplicates"` // records received that were duplicates
	Stale      uint64 `json:"stale"`      // records received that were stale
	Lost       uint64 `json:"lost"`       // messages from the neighbour that were lost
	Repairs    uint64 `json:"repairs"`    // comparisons that ended
	Repaired   uint64 `json:"repaired"`   // records received by comparisons that were news
}

// Herd is the state of all servers of a herd, in the order of the topology.
type Herd struct {
	Servers []Server `json:"servers"`
	Missing []string `json:"missing"` // servers that did not reply
}

// Gather makes a Herd of the replies of servers, in the order of names. It drops replies
// of servers with other names. If a server replied twice, its later reply counts.
func Gather(names []string, replies []Server) (h Herd) {
	h.Servers, h.Missing = []Server{}, []string{}
	for _, name := range names {
		var of []Server
		for _, s := range replies {
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

// InStep reports whether all servers replied and all their edges are in step.
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

// Equal reports whether all servers replied and their maps are equal. Under load maps are
// hardly ever equal at one moment.
func (h Herd) Equal() bool {
	for _, s := range h.Servers {
		if s.Digest != h.Servers[0].Digest {
			return false
		}
	}
	return len(h.Missing) == 0
}

// Text formats the herd as a table, followed by problems and a summary.
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
		fmt.Fprintf(w, "%s\tno reply\t\t\t\t\n", name)
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

func (e Edge) text() string {
	state := e.state()
	if e.Waiting > 0 {
		state += fmt.Sprintf(", %d waiting", e.Waiting)
	}
	return e.Peer + " (" + state + ")"
}
