package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strconv"
	"time"

	"github.com/alecthomas/kong"

	"herd/bus"
	"herd/bus/natsbus"
	"herd/node/follow"
	"herd/node/status"
	"herd/node/wire"
)

type followCommand struct {
	Clients  []rawText     `arg:"" optional:"" name:"client" help:"IDs of the clients to follow (default: all)."`
	Prefix   rawText       `placeholder:"TEXT" help:"Only clients whose ID begins with this."`
	Near     location      `placeholder:"LOCATION" help:"Only clients around a location, such as +34.07-118.45; with --radius."`
	Radius   string        `placeholder:"KM" help:"Kilometres around the location."`
	Interval time.Duration `default:"100ms" help:"Time between changes, 10ms to 1m: of what a client reports in between, the newest is printed."`
	Server   string        `placeholder:"NAME" predictor:"server" help:"The server to follow (default: one after the other, as long as each replies)."`
	Format   recordFormat  `default:"text" enum:"text,json,geojson" help:"text: records; json: an object per line; geojson: a sequence of features (RFC 8142)."`
}

// location is a value that may begin with a minus sign.
type location string

// Decode implements kong.MapperValue.
func (l *location) Decode(ctx *kong.DecodeContext) error {
	text, ok := ctx.Scan.Pop().Value.(string)
	if !ok {
		return errors.New("a location is missing")
	}
	*l = location(text)
	return nil
}

// Help is shown by herd follow --help.
func (followCommand) Help() string {
	return `It prints what is known of each client, and then every change, until Ctrl-C. When a server is lost, it goes
on at the next one. A line "- CLIENT" is a client that is unknown from then on. With --near, each line
begins with enter, move or leave. Examples:

    herd follow
    herd follow kiwi emu
    herd follow --near +34.07-118.45 --radius 10 --format json`
}

// Run follows servers until ctx ends, which is no error.
func (f followCommand) Run(ctx context.Context, c console) error {
	var request follow.Request
	s, err := loadSettings(func(c *checker, s settings) {
		c.hasSeeds(s, s.readUser())
		if f.Server != "" {
			c.isServer("--server", f.Server, s)
		}
		request = f.request(c)
	})
	if err != nil {
		return err
	}
	p := followPrinter{format: f.Format, out: c.stdout, area: request.Near != nil}
	if isTerminal(c.stdout) {
		p.out = c.Out
	}
	servers := s.graph.Servers()
	if f.Server != "" {
		servers = []string{f.Server}
	}
	log := slog.New(slog.NewTextHandler(c.Err, nil))
	if err := followServers(ctx, s, servers, request, &p, log); err != nil && ctx.Err() == nil {
		return fmt.Errorf("follow: %w", busHint(err))
	}
	return nil
}

// request is what the flags ask for.
func (f followCommand) request(c *checker) (r follow.Request) {
	for _, client := range f.Clients {
		r.Name(string(client))
	}
	r.SetPrefix(string(f.Prefix))
	r.Interval = f.Interval.String()
	if (f.Near == "") != (f.Radius == "") {
		c.fault("follow", "--near and --radius belong together: one is missing")
		return r
	}
	if f.Near != "" {
		lat, lon, ok := wire.ParsePosition([]byte(f.Near))
		km, err := strconv.ParseFloat(f.Radius, 64)
		if !ok {
			c.fault("--near", "%q is not a location such as +34.07-118.45", string(f.Near))
		}
		if err != nil {
			c.fault("--radius", "%q is not a number of kilometres", f.Radius)
		}
		r.Near = &follow.Near{Lat: lat, Lon: lon, Km: km}
	}
	if err := r.Check(); err != nil {
		c.fault("follow", "%v", err)
	}
	return r
}

const (
	// followPause is how long to wait when a stream has ended soon. It doubles each time, up to maxFollowPause.
	followPause    = 100 * time.Millisecond
	maxFollowPause = 5 * time.Second
	// steadyStream is how long a stream lives that did not end soon.
	steadyStream = 10 * time.Second
)

// followServers follows one server after the other, until ctx ends or p fails. If none can be followed at the beginning, it
// returns the last error.
func followServers(ctx context.Context, s settings, servers []string, request follow.Request, p *followPrinter, log *slog.Logger) error {
	body, err := json.Marshal(request)
	if err != nil {
		return err
	}
	follower := follow.NewFollower(follow.NewFilter(request))
	received := false // a frame, ever
	pause := followPause
	for tries := 1; ; tries++ {
		server := servers[(tries-1)%len(servers)]
		began := time.Now()
		err := natsbus.Follow(ctx, s.busConfig(s.busURLs(), s.readUser()), status.FollowEndpoint, server, body, func(frame natsbus.Frame) error {
			received = true
			return p.print(follower, frame)
		})
		switch {
		case err == nil: // ctx has ended
			return nil
		case p.failed != nil:
			return p.failed
		case !received && errors.Is(err, bus.ErrDenied):
			return fmt.Errorf("%w; servers that the herd does not have are denied, too: is HERD_TOPOLOGY the herd's?", err)
		case !received && tries >= len(servers):
			return err
		case time.Since(began) >= steadyStream:
			pause = followPause
		}
		log.Warn("stream lost, following the next server", "node", server, "next", servers[tries%len(servers)], "err", err)
		follower.Restart()
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return nil
		}
		pause = min(2*pause, maxFollowPause)
	}
}

// followPrinter prints what changes for a follower.
type followPrinter struct {
	format recordFormat
	area   bool // changes are enter, move and leave
	out    io.Writer
	buffer []byte
	failed error // of printing
}

// print prints the changes of a frame.
func (p *followPrinter) print(follower *follow.Follower, f natsbus.Frame) error {
	p.buffer = p.buffer[:0]
	err := follower.Frame(wire.Mark{Epoch: f.Epoch, Seq: f.Seq}, f.SnapshotEnd, f.Data, func(change follow.Change) {
		event := ""
		if p.area || change.Kind == follow.Leave && p.format != textFormat {
			event = change.Kind.String()
		}
		buffer, err := p.format.appendChange(p.buffer, event, change.Client, change.Line)
		p.buffer = buffer
		if err != nil {
			p.failed = err
		}
	})
	if p.failed == nil && len(p.buffer) > 0 {
		_, p.failed = p.out.Write(p.buffer)
	}
	return errors.Join(err, p.failed)
}
