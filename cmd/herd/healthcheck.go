package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"syscall"
	"time"
)

type healthcheckCommand struct {
	Name string `arg:"" optional:"" predictor:"server" help:"The server, which determines its default HERD_OPS_LISTEN (default: HERD_NAME; without a name, the address of herd up)."`
}

// Run requests /readyz of the server with this environment.
func (h healthcheckCommand) Run(ctx context.Context) error {
	name := h.Name
	s, err := loadSettings(func(c *checker, s settings) {
		if name == "" {
			name = s.name
		}
		if name != "" {
			c.isServer("healthcheck", name, s)
		}
	})
	if err != nil {
		return err
	}
	address := s.opsAddress(max(0, s.graph.Index(name)))
	if address == "" {
		return errors.New("healthcheck: HERD_OPS_LISTEN is off: set it to an address")
	}
	if _, port := splitPort(address); port == 0 {
		return usageError{errors.New("healthcheck: HERD_OPS_LISTEN: port 0 says nothing about the port of the server: set it to the address that the server printed")}
	}
	address = dialable(address)
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+"/readyz", nil)
	if err != nil {
		return err
	}
	// A transport of its own: the default one would use a proxy of the environment.
	transport := &http.Transport{DisableKeepAlives: true}
	reply, err := (&http.Client{Transport: transport}).Do(request)
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Errorf("healthcheck: nothing listens at %s: is the server running, and is HERD_OPS_LISTEN, or the name of the server, the one that it runs with?", address)
	case err != nil:
		return fmt.Errorf("healthcheck: %w", err)
	}
	defer reply.Body.Close()
	if reply.StatusCode != http.StatusOK {
		why, _ := io.ReadAll(io.LimitReader(reply.Body, 4096))
		return fmt.Errorf("healthcheck: not ready: %s", strings.TrimSpace(string(why)))
	}
	return nil
}
