package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strings"

	"herd/bus/topology"
	"herd/cmd/herd/watch"
	"herd/node/opshttp"
	"herd/places"
	"herd/places/stack"
)

type watchCommand struct{}

// Help is shown by herd watch --help.
func (watchCommand) Help() string {
	return `It prints the page's address, and serves it until Ctrl-C, for any running herd whose NATS server it can reach. The
page only shows the herd; herd up serves one, too, that can change it. It starts also if NATS is not there yet.`
}

// Run serves the page until ctx ends.
func (watchCommand) Run(ctx context.Context, c console) error {
	s, err := loadSettings(func(c *checker, s settings) { c.hasSeeds(s, s.readUser()) })
	if err != nil {
		return err
	}
	log := slog.New(slog.NewTextHandler(c.Err, nil))
	ln, err := net.Listen("tcp", s.watchListen)
	if err != nil {
		return portsError([]portFault{{s.watchListen, "the page", "HERD_WATCH_LISTEN", err}})
	}
	defer ln.Close()
	if _, err := fmt.Fprintf(c.Out, "The page is at %s\n", pageAddress(ln.Addr())); err != nil {
		return err
	}
	if !loopback(ln.Addr().String()) {
		log.Warn("the page is public: anyone who reaches it sees where every client is", "address", ln.Addr())
	}
	graph := func() *topology.Graph { return s.graph }
	page := watch.New(s.pageConfig(s.readBus(), graph, s.watchPlaces(log), log))
	defer runPage(page)()
	server := opshttp.NewServer(opshttp.LimitPage(page), watch.MaxRequests, log)
	defer context.AfterFunc(ctx, func() { server.Close() })()
	if err := server.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("watch: %w", err)
	}
	return nil
}

// pageAddress is the URL of a page that is served at an address.
func pageAddress(address net.Addr) string { return "http://" + dialable(address.String()) + "/" }

// watchPlaces is the places source of herd watch. Of HERD_PLACES_BUDGET it has the share of one server.
func (s settings) watchPlaces(log *slog.Logger) places.Source {
	cfg := s.places
	cfg.Budget = stack.Unlimited
	if s.placesBudget != stack.Unlimited {
		cfg.Budget = places.Share(s.placesBudget, 0, len(s.graph.Servers()))
	}
	cfg.Agent = "herd/" + strings.Trim(version(), "()")
	cfg.Log = log
	return stack.New(cfg)
}
