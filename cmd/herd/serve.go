package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
)

// defaultNATS is where serve looks for a bus.
const defaultNATS = "nats://127.0.0.1:4222"

type serveCommand struct {
	Name string `arg:"" optional:"" help:"The server's name in the topology (default: HERD_NAME)."`
}

// Run runs one server of the herd.
func (s serveCommand) Run(ctx context.Context, c console) error {
	settings, err := loadSettings()
	if err != nil {
		return err
	}
	name := s.Name
	if name == "" {
		name = settings.name
	}
	if name == "" {
		return usageError{errors.New("serve: which server? Name it here or in HERD_NAME")}
	}
	place := settings.graph.Index(name)
	if place < 0 {
		return usageError{fmt.Errorf("serve: %q is no server of topology %s, which has %s",
			name, settings.topology, strings.Join(settings.graph.Servers(), ", "))}
	}
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
	return p.run(ctx, urls, nil)
}
