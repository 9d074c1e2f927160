package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// livePage is what a page has heard of a herd.
type livePage struct {
	t   testing.TB
	url string // of the page

	mu      sync.Mutex
	hello   liveHello
	herd    liveHerd
	heard   time.Time // when the last state arrived
	events  []liveEvent
	hops    []liveHop
	tap     []bool
	silence time.Duration // the longest
	ended   error
}

type liveHello struct {
	Topology, Version string
	Controls, Report  bool
	Servers           []struct {
		Name, Clients string
		X, Y          float64
	}
	Edges []struct{ A, B string }
}

type liveHerd struct {
	At          int64
	Bus, BusWhy string
	Heard       *float64
	Servers     []liveServer
	Edges       []liveEdge
	Pairs       []struct {
		A, B  string
		Equal bool
		Ago   *float64
	}
	Differences []string
}

type liveServer struct {
	Name, State, Why, Digest         string
	Clients, Sessions                *int
	In, Out, LagMs, Heard, Heartbeat *float64
	Stopped                          bool
}

type liveEdge struct {
	A, B, State, Why                 string
	AB, BA, HeartbeatAB, HeartbeatBA *float64
}

type liveEvent struct {
	At                       int64
	Server, Kind, Peer, Text string
}

type liveHop struct {
	At                              int64
	From, To, Client, Client_Base64 string
	Lines                           int
}

// openPage opens the live stream of a page, until the test ends or leave is called.
func openPage(t testing.TB, url string) (p *livePage, leave func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url+"/api/live", nil)
	if err != nil {
		t.Fatal(err)
	}
	reply, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	if reply.StatusCode != http.StatusOK {
		t.Fatalf("api/live: %s", reply.Status)
	}
	p = &livePage{t: t, url: url}
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer reply.Body.Close()
		err := p.read(reply.Body)
		p.mu.Lock()
		defer p.mu.Unlock()
		p.ended = err
	}()
	leave = func() {
		cancel()
		<-done
	}
	t.Cleanup(leave)
	return p, leave
}

// read reads server-sent events until the stream ends.
func (p *livePage) read(from io.Reader) error {
	lines := bufio.NewReader(from)
	kind, last := "", time.Now()
	for {
		line, err := lines.ReadString('\n')
		if err != nil {
			return err
		}
		p.mu.Lock()
		p.silence = max(p.silence, time.Since(last))
		last = time.Now()
		line = strings.TrimSuffix(line, "\n")
		if name, ok := strings.CutPrefix(line, "event: "); ok {
			kind = name
		}
		if data, ok := strings.CutPrefix(line, "data: "); ok {
			err = p.take(kind, []byte(data))
		}
		p.mu.Unlock()
		if err != nil {
			return err
		}
	}
}

func (p *livePage) take(kind string, data []byte) error {
	switch kind {
	case "hello":
		p.hello = liveHello{}
		return json.Unmarshal(data, &p.hello)
	case "herd":
		p.herd, p.heard = liveHerd{}, time.Now()
		return json.Unmarshal(data, &p.herd)
	case "event":
		var e liveEvent
		err := json.Unmarshal(data, &e)
		p.events = append(p.events, e)
		return err
	case "hop":
		var h liveHop
		err := json.Unmarshal(data, &h)
		p.hops = append(p.hops, h)
		return err
	case "tap":
		var tap struct{ Tap bool }
		err := json.Unmarshal(data, &tap)
		p.tap = append(p.tap, tap.Tap)
		return err
	}
	return fmt.Errorf("an event of kind %q: %s", kind, data)
}

// graph is the graph that the page was told last.
func (p *livePage) graph() liveHello {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.hello
}

// await waits until check returns nil.
func (p *livePage) await(check func(*livePage) error) {
	p.t.Helper()
	eventually(p.t, func() error {
		p.mu.Lock()
		defer p.mu.Unlock()
		if p.ended != nil {
			return fmt.Errorf("the stream has ended: %w", p.ended)
		}
		return check(p)
	})
}

// awaitWell waits until all servers are up and in step.
func (p *livePage) awaitWell() {
	p.t.Helper()
	p.await(func(p *livePage) error {
		for _, s := range p.herd.Servers {
			if s.State != "up" {
				return fmt.Errorf("%+v", s)
			}
		}
		for _, e := range p.herd.Edges {
			if e.State != "in step" {
				return fmt.Errorf("%+v", e)
			}
		}
		if len(p.herd.Servers) == 0 || p.herd.Bus != "connected" {
			return errors.New("no server, or no bus")
		}
		return nil
	})
}

// awaitServer waits until a server is in a state.
func (p *livePage) awaitServer(name, state string) {
	p.t.Helper()
	p.await(func(p *livePage) error {
		if s := p.herd.server(name); s.State != state {
			return fmt.Errorf("%+v, want %s", s, state)
		}
		return nil
	})
}

// awaitEdge waits until an edge is in a state.
func (p *livePage) awaitEdge(a, b, state string) {
	p.t.Helper()
	p.await(func(p *livePage) error {
		if e := p.herd.edge(a, b); e.State != state {
			return fmt.Errorf("%+v, want %s", e, state)
		}
		return nil
	})
}

func (h liveHerd) server(name string) liveServer {
	if i := slices.IndexFunc(h.Servers, func(s liveServer) bool { return s.Name == name }); i >= 0 {
		return h.Servers[i]
	}
	return liveServer{}
}

func (h liveHerd) edge(a, b string) liveEdge {
	if i := slices.IndexFunc(h.Edges, func(e liveEdge) bool { return e.A == a && e.B == b || e.A == b && e.B == a }); i >= 0 {
		return h.Edges[i]
	}
	return liveEdge{}
}

// startWatch runs herd watch, and returns the page's URL.
func startWatch(t testing.TB, env ...string) (p *program, url string) {
	t.Helper()
	p = start(t, append([]string{"HERD_WATCH_LISTEN=127.0.0.1:0"}, env...), "watch")
	return p, strings.TrimSuffix(p.stdout.await(t, `^The page is at (http://\S+)/\n`)[1], "/")
}
