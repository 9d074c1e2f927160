package main

import (
	"context"
	"slices"

	"herd/bus/natsbus"
	"herd/cmd/herd/watch"
	"herd/places"
)

// watchedHerd is a herd as its page reaches it: over the bus.
type watchedHerd struct {
	bus natsbus.Config
}

// Connect implements watch.Herd.
func (h watchedHerd) Connect(ctx context.Context) (watch.Link, error) {
	link, err := natsbus.DialTool(ctx, h.bus)
	if err != nil {
		return nil, busHint(err)
	}
	return link, nil
}

// pageConfig is the page of the herd on the bus of cfg.
func (s settings) pageConfig(cfg natsbus.Config, source places.Source) watch.Config {
	return watch.Config{
		Version: version(), Topology: s.topology, Prefix: s.prefix, Hosts: slices.Clone(s.watchHosts),
		Herd: watchedHerd{cfg}, Places: source,
	}
}

// pageFiles is how many files the page of the process may have open.
func (p *process) pageFiles() int {
	if !p.hasPage() {
		return 0
	}
	const perStream = 3 // the browser's connection, and both ends of one to the bus
	return perStream * watch.MaxStreams
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
	cfg := p.settings.pageConfig(bus, source)
	cfg.Graph, cfg.Log = p.graph.Load, p.log
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
