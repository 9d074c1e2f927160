package main

import (
	"context"
	"errors"
)

// defaultNATS is where serve looks for a bus.
const defaultNATS = "nats://127.0.0.1:4222"

type serveCommand struct {
	Name string `arg:"" optional:"" help:"The server's name in the topology (default: HERD_NAME)."`
}

// Run runs one server of the herd.
func (s serveCommand) Run(ctx context.Context, c console) error {
	name := s.Name
	settings, err := loadSettings(func(c *checker, s settings) {
		if name == "" {
			name = s.name
		}
		if name == "" {
			c.faults = append(c.faults, errors.New("serve: which server? Name it on the command line or in HERD_NAME"))
		} else {
			c.isServer("serve", name, s)
			c.hasSeeds(s, name)
		}
	})
	if err != nil {
		return err
	}
	place := settings.graph.Index(name)
	address := settings.listen
	if address == "" {
		address = defaultAddress(clientPort, place)
	}
	p, err := newProcess(settings, c.Err, []string{name}, []string{address}, settings.opsAddress(place))
	if err != nil {
		return err
	}
	urls := settings.natsURLs
	if len(urls) == 0 {
		urls = []string{defaultNATS}
	}
	p.warnExposed(nil)
	return p.run(ctx, urls, nil)
}
