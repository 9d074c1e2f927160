package main

import (
	"context"
	"log/slog"
	"slices"

	"herd/bus/natsbus"
	"herd/bus/topology"
	"herd/cmd/herd/watch"
	"herd/node/follow"
	"herd/places"
)

// watchedHerd is a herd as its page reaches it: over the bus.
type watchedHerd struct {
	bus     natsbus.Config
	graph   func() *topology.Graph
	streams *firstLoss
}

// Connect implements watch.Herd.
func (h watchedHerd) Connect(ctx context.Context) (watch.Link, error) {
	link, err := natsbus.DialTool(ctx, h.bus)
	if err != nil {
		return nil, busHint(err)
	}
	return link, nil
}

// Follow implements watch.Herd.
func (h watchedHerd) Follow(ctx context.Context, servers func() []string, r follow.Request, frames watch.Frames) error {
	err := followServers(ctx, h.bus, servers, r, frames, h.streams)
	if err != nil {
		h.streams.Lost("", "", err)
		return busHint(err)
	}
	return nil
}

// Records implements watch.Herd.
func (h watchedHerd) Records(ctx context.Context, client string) (records []watch.Record, err error) {
	all, err := getRecords(ctx, h.bus, h.graph().Servers(), client)
	if err != nil {
		return nil, busHint(err)
	}
	for _, r := range all.servers {
		records = append(records, watch.Record{Server: r.server, Replied: r.replied, Line: r.line, Err: r.err})
	}
	return records, nil
}

// Near implements watch.Herd.
func (h watchedHerd) Near(ctx context.Context, request []byte) (natsbus.Reply, error) {
	reply, err := requestNear(ctx, h.bus, request)
	if err != nil {
		return reply, busHint(err)
	}
	return reply, nil
}

// pageConfig is the page of a herd. Its graph is that of the present.
func (s settings) pageConfig(bus natsbus.Config, graph func() *topology.Graph, source places.Source, log *slog.Logger) watch.Config {
	return watch.Config{
		Version: version(), Topology: s.topology, Prefix: s.prefix, Hosts: slices.Clone(s.watchHosts), Graph: graph,
		Herd: watchedHerd{bus, graph, &firstLoss{log: log}}, Places: source, Log: log,
	}
}

// pageFiles is how many files the page of the process may have open.
func (p *process) pageFiles() int {
	if !p.hasPage() {
		return 0
	}
	const perRequest = 3 // the browser's connection, and both ends of one to the bus
	return perRequest * watch.MaxRequests
}

// hasPage reports whether the process serves a page of its herd.
func (p *process) hasPage() bool { return p.runsAll && p.ops != nil }

// newPage makes the page of the process; nil if it has none.
func (p *process) newPage(urls []string, source places.Source) *watch.Page {
	if !p.hasPage() {
		return nil
	}
	bus := natsbus.Config{URLs: urls, Prefix: p.settings.prefix} // as a guest
	if p.embedded == nil {
		bus = p.settings.busConfig(urls, p.settings.readUser())
	}
	cfg := p.settings.pageConfig(bus, p.graph.Load, source, p.log)
	cfg.Controls = controls{p}
	return watch.New(cfg)
}

// runPage runs a page until end is called.
func runPage(page *watch.Page) (end func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		page.Run(ctx)
	}()
	return func() {
		cancel()
		<-done
	}
}
