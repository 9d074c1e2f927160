package node

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"herd/bus"
	"herd/node/replica"
	"herd/node/status"
)

// Status describes the server.
func (n *Node) Status() status.Server {
	now := time.Now()
	s := status.Server{
		Server: n.cfg.Name, Epoch: n.cfg.Epoch, Clock: now.UTC(), Ready: true,
		Edges: []status.Edge{},
	}
	if err := n.Ready(); err != nil {
		s.Ready, s.Why = false, err.Error()
	}
	if err := n.cfg.Bus.Problem(); err != nil {
		s.Bus = err.Error()
	}
	s.Clients, _ = n.clients.counts()
	n.mu.Lock()
	defer n.mu.Unlock()
	s.Journal = strings.Join(n.journalDamage, "; ")
	s.Records = n.replica.Map().Known()
	if n.cfg.Keep > 0 {
		s.Keep, s.KeepPaused = n.cfg.Keep.String(), n.replica.ExpiryPaused()
	}
	s.Digest = fmt.Sprintf("%016x", n.replica.Map().Digest())
	s.Topology = fmt.Sprintf("%016x", n.replica.Topology().Hash)
	reports := n.replica.Reports()
	s.Reports = reports.News + reports.Duplicates + reports.Stale
	for _, i := range n.edgeInfos(now) {
		s.Edges = append(s.Edges, status.Edge{
			Peer: i.Peer, Up: i.Up, InStep: i.InStep, Repairing: i.Comparing, Waiting: i.Queued, BeatAge: heartbeatAge(i),
			Problem: i.Problem, Unsendable: i.Unsendable,
			Sent: i.Out, News: i.News, Duplicates: i.Duplicates, Stale: i.Stale,
			Lost: i.Lost, Repairs: i.Repairs, Repaired: i.RepairNews,
		})
	}
	return s
}

// heartbeatAge is the age of the last heartbeat in seconds; -1 for none.
func heartbeatAge(i replica.EdgeInfo) float64 {
	if i.HeartbeatAge < 0 {
		return -1
	}
	return i.HeartbeatAge.Seconds()
}

// Record is the record's line of a client that is known, without LF.
func (n *Node) Record(client []byte) (line []byte, ok bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.replica.Record(nil, client, time.Now())
}

// Answer answers requests of tools: bus.Handler. The endpoints are the status as JSON,
// the edges as a table, the record of the client whose ID is the request, who is near, and a
// reload. Beyond an endpoint's rate the error is bus.ErrBusy.
func (n *Node) Answer(endpoint string, request []byte) (bus.Reply, error) {
	if !n.toolRequests.allow(endpoint) {
		if endpoint == status.NearEndpoint.Name {
			n.nearby.results[nearBusy].Add(1)
		}
		n.events.busy.Note(endpoint, "", 1)
		n.reportRepeated()
		return bus.Reply{}, fmt.Errorf("%w: too many requests a second for %s: ask again later", bus.ErrBusy, endpoint)
	}
	if endpoint == status.NearEndpoint.Name {
		return n.near(request)
	}
	data, err := n.answer(endpoint, request)
	return bus.Reply{Data: data}, err
}

// answer answers requests whose reply has no headers.
func (n *Node) answer(endpoint string, request []byte) (reply []byte, err error) {
	switch endpoint {
	case status.Endpoint.Name:
		return json.Marshal(n.Status())
	case status.EdgesEndpoint.Name:
		return []byte(n.Status().EdgesText()), nil
	case status.RecordEndpoint.Name:
		client, err := requestedClient(request)
		if err != nil {
			return nil, err
		}
		if line, ok := n.Record(client); ok {
			return line, nil
		}
		return nil, fmt.Errorf("%w: no client %.80q", bus.ErrUnknown, client)
	case status.ForgetEndpoint.Name:
		client, err := requestedClient(request)
		if err != nil {
			return nil, err
		}
		return n.forget(client)
	case status.RestoreEndpoint.Name:
		return n.restore(request)
	case status.ReloadEndpoint.Name:
		changes, err := n.cfg.Reload()
		if err != nil {
			return nil, fmt.Errorf("%w: %w", bus.ErrUnavailable, err)
		}
		return []byte(strings.Join(append(changes, "reloaded"), "\n")), nil
	}
	return nil, fmt.Errorf("%w: no endpoint %.80q", bus.ErrUnknown, endpoint)
}
