// Package status is the state of a server as operators see it. The server's micro service
// returns it, and `herd status` judges the states of all servers together and prints them.
package status

import "time"

// Server is the state of one server.
type Server struct {
	Server   string    `json:"server"`
	Epoch    uint64    `json:"epoch"`    // identifies this run of the server
	Topology string    `json:"topology"` // hash of the graph
	Clock    time.Time `json:"clock"`    // its clock when it returned this
	Ready    bool      `json:"ready"`
	Why      string    `json:"why,omitempty"` // reason for not being ready
	Bus      string    `json:"bus,omitempty"` // why it cannot use the bus in full
	Records  int       `json:"records"`       // clients in its map
	Digest   string    `json:"digest"`        // of the records: equal for equal maps
	Clients  int       `json:"clients"`       // open connections
	Reports  uint64    `json:"reports"`       // records that clients reported since it started
	Edges    []Edge    `json:"edges"`
	Journal  string    `json:"journal,omitempty"` // damage found in the journal at the start
	Keep     string    `json:"keep,omitempty"`    // after which records expire: HERD_KEEP; "" for never
	// KeepPaused says why no record expires now, although Keep is set.
	KeepPaused string `json:"keep_paused,omitempty"`
}

// Edge is the state of an edge as the server at one of its ends sees it.
type Edge struct {
	Peer      string  `json:"peer"`
	Up        bool    `json:"up"`
	InStep    bool    `json:"in_step"`
	Repairing bool    `json:"repairing"` // a comparison runs
	Waiting   int     `json:"waiting"`   // records queued for the neighbour
	BeatAge   float64 `json:"beat_age"`  // seconds since the neighbour's last heartbeat; -1 for none yet
	// Problem says why the edge stays down, or how the neighbour's topology differs.
	Problem string `json:"problem,omitempty"`
	// Unsendable is the number of records that the neighbour does not have because NATS
	// takes no message of their size.
	Unsendable int `json:"unsendable,omitempty"`

	// Counts since the server started.
	Sent       uint64 `json:"sent"`       // records sent
	News       uint64 `json:"news"`       // records received that were news
	Duplicates uint64 `json:"duplicates"` // records received that were duplicates
	Stale      uint64 `json:"stale"`      // records received that were stale
	Lost       uint64 `json:"lost"`       // messages from the neighbour that were lost
	Repairs    uint64 `json:"repairs"`    // comparisons that ended
	Repaired   uint64 `json:"repaired"`   // records received by comparisons that were news
}
