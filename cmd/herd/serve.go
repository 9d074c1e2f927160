package main

import "context"

type serveCommand struct {
	Name string `arg:"" optional:"" predictor:"server" help:"Name of the server in the topology (default: HERD_NAME)."`
}

// Run runs one server of the herd.
func (s serveCommand) Run(ctx context.Context, c console) error {
	hangups := catchHangups()
	name := s.Name
	settings, err := loadSettings(makeDirectories, func(c *checker, s settings) {
		if name == "" {
			name = s.name
		}
		if name == "" {
			c.fault("serve", "no server name: give it on the command line or set HERD_NAME")
		} else {
			c.isServer("serve", name, s)
			c.hasSeeds(s, name)
		}
	})
	if err != nil {
		return err
	}
	index := settings.graph.Index(name)
	address := settings.listen
	if address == "" {
		address = defaultAddress(clientPort, index)
	}
	p, err := newProcess(settings, c, hangups, ports{clients: []serverPort{{name, address}}, ops: settings.opsAddress(index)})
	if err != nil {
		return err
	}
	p.warnPublic()
	return p.run(ctx, settings.busURLs(), nil)
}
