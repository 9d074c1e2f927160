package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strconv"
	"time"

	"github.com/alecthomas/kong"

	"herd/bus/natsbus"
	"herd/node/follow"
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
	p := followPrinter{format: f.Format, out: c.stdout, area: request.Near != nil, follower: follow.NewFollower(follow.NewFilter(request))}
	if isTerminal(c.stdout) {
		p.out = c.Out
	}
	servers := s.graph.Servers()
	if f.Server != "" {
		servers = []string{f.Server}
	}
	log := slog.New(slog.NewTextHandler(c.Err, nil))
	if err := untilInterrupted(ctx, func() error {
		return followServers(ctx, s.readBus(), func() []string { return servers }, request, &p, eachLoss{log})
	}); err != nil && ctx.Err() == nil {
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

// followPrinter prints what changes for a follower. It is watch.Frames.
type followPrinter struct {
	follower *follow.Follower
	format   recordFormat
	area     bool // changes are enter, move and leave
	out      io.Writer
	buffer   []byte
}

// Take prints the changes of a frame. If that fails, its error is final.
func (p *followPrinter) Take(f natsbus.Frame) error {
	p.buffer = p.buffer[:0]
	var failed error
	err := p.follower.Frame(wire.Mark{Epoch: f.Epoch, Seq: f.Seq}, f.SnapshotEnd, f.Data, func(change follow.Change) {
		event := ""
		if p.area || change.Kind == follow.Leave && p.format != textFormat {
			event = change.Kind.String()
		}
		buffer, err := p.format.appendChange(p.buffer, event, change.Client, change.Line)
		p.buffer = buffer
		if err != nil {
			failed = err
		}
	})
	if failed == nil && len(p.buffer) > 0 {
		_, failed = p.out.Write(p.buffer)
	}
	if failed != nil {
		return finalError{failed}
	}
	return err
}

// Lost begins another stream: what has changed meanwhile is printed.
func (p *followPrinter) Lost(error) { p.follower.Restart() }
