package node

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"herd/bus"
	"herd/node/status"
)

// Status is how the server is.
func (n *Node) Status() status.Server {
	now := time.Now()
	s := status.Server{
		Server: n.cfg.Name, Epoch: n.cfg.Epoch, Topology: fmt.Sprintf("%016x", n.cfg.Topology), Clock: now.UTC(), Ready: true,
		Edges: []status.Edge{}, Journal: strings.Join(n.damage, "; "),
	}
	if err := n.Ready(); err != nil {
		s.Ready, s.Why = false, err.Error()
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	s.Records = n.replica.Map().Len()
	s.Digest = fmt.Sprintf("%016x", n.replica.Map().Digest())
	s.Clients = len(n.sessions.open)
	for e, peer := range n.cfg.Neighbours {
		waiting, up := n.replica.Waiting(e)
		counts := n.replica.Counts(e)
		s.Edges = append(s.Edges, status.Edge{
			Peer: peer, Up: up, InStep: n.replica.InStep(e), Repairing: n.replica.Repairing(e), Waiting: waiting,
			BeatAge: n.replica.BeatAge(e, now),
			Sent:    counts.Out, News: counts.News, Duplicates: counts.Duplicates, Stale: counts.Stale,
			Lost: counts.Lost, Repairs: counts.Repairs, Repaired: counts.RepairNews,
		})
	}
	return s
}

// Record is the line that the server has of a client.
func (n *Node) Record(client []byte) (line []byte, ok bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.replica.Get(nil, client)
}

// Answer answers requests of tools: status in JSON, the edges as a table, and the
// record of the client whose id is the request. It is bus.Handler's.
func (n *Node) Answer(endpoint string, request []byte) (reply []byte, err error) {
	switch endpoint {
	case "status":
		return json.Marshal(n.Status())
	case "edges":
		return []byte(n.Status().EdgesText()), nil
	case "get":
		client := bytes.Trim(request, " \t\n\v\f\r") // of a tool that adds a line end; ids hold none
		if len(client) == 0 {
			return nil, errors.New("which client? The request is to be its id")
		}
		if line, ok := n.Record(client); ok {
			return line, nil
		}
		return nil, fmt.Errorf("%w: no client %.80q", bus.ErrUnknown, client)
	}
	return nil, fmt.Errorf("%w: no endpoint %.80q", bus.ErrUnknown, endpoint)
}
