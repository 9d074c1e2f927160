package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"
)

type healthcheckCommand struct{}

// Run asks the server whose environment this is whether it is ready.
func (healthcheckCommand) Run(ctx context.Context) error {
	s, err := loadSettings()
	if err != nil {
		return err
	}
	address := s.opsAddress(max(0, s.graph.Index(s.name)))
	if address == "" {
		return errors.New("healthcheck: HERD_OPS_LISTEN is off")
	}
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return err
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+net.JoinHostPort(host, port)+"/readyz", nil)
	if err != nil {
		return err
	}
	reply, err := http.DefaultClient.Do(request)
	if err != nil {
		return fmt.Errorf("healthcheck: %w", err)
	}
	defer reply.Body.Close()
	if reply.StatusCode != http.StatusOK {
		why, _ := io.ReadAll(io.LimitReader(reply.Body, 4096))
		return fmt.Errorf("healthcheck: not ready: %s", strings.TrimSpace(string(why)))
	}
	return nil
}
