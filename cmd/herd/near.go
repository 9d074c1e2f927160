package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"herd/bus"
	"herd/bus/natsbus"
	"herd/node/status"
	"herd/node/wire"
)

type nearCommand struct {
	Where   rawText `arg:"" name:"location-or-client" help:"A location, as in reports, or a client's ID."`
	KM      string  `arg:"" name:"km" help:"Radius in kilometres."`
	Limit   int     `default:"20" help:"Maximum number of clients, 1 to 1000."`
	JSON    bool    `name:"json" help:"Print a JSON array." xor:"format"`
	GeoJSON bool    `name:"geojson" help:"Print a GeoJSON feature collection." xor:"format"`
}

// Help is shown by herd near --help.
func (nearCommand) Help() string {
	return `One ready server answers, with a line for each client: its distance in kilometres, and its record. Without clients it prints nothing. Examples:

    herd near +34.068930-118.445127 10
    herd near -33.8688+151.2093 0.5 --limit 100
    herd near kiwi.cs.ucla.edu 10 --geojson > near.geojson

What can be read as a location is one, also if a client has that ID.`
}

const (
	// nearTimeout is how long the answer may take. The first request of all makes a server index its clients.
	nearTimeout = 30 * time.Second
	// nearTry is how long one server may take. Then another one may be asked, in case that the first hangs. An index that was begun
	// goes on with the next request.
	nearTry = 5 * time.Second
)

// Run asks one server, and prints its answer.
func (g nearCommand) Run(ctx context.Context, c console) error {
	request := fmt.Appendf(nil, "%s %s %d", g.Where, g.KM, g.Limit)
	s, err := loadSettings(func(c *checker, s settings) {
		c.hasSeeds(s, s.readUser())
		if !wire.IsClient(string(g.Where)) {
			c.fault("near", "%.80q is neither a location such as +34.068930-118.445127 nor a client's ID: an ID has 1 to %d bytes, and no white space", g.Where, wire.MaxClient)
		} else if g.KM == "" || strings.ContainsAny(g.KM, whiteSpace) {
			c.fault("near", "%q is not a number of kilometres", g.KM)
		} else if _, err := wire.ParseNear(request); err != nil {
			c.fault("near", "%v", err)
		}
	})
	if err != nil {
		return err
	}
	reply, err := requestNear(ctx, s.readBus(), request)
	if err != nil {
		return fmt.Errorf("near: %w", busHint(err))
	}
	found, err := parseNear(reply.Data)
	if err != nil {
		return fmt.Errorf("near: %w", err)
	}
	switch {
	case g.JSON:
		err = writeJSON(c.Out, found)
	case g.GeoJSON:
		err = writeJSON(c.Out, featureCollection(found))
	default:
		output := c.stdout // records are the clients' bytes
		if isTerminal(c.stdout) {
			output = c.Out
		}
		_, err = output.Write(reply.Data)
	}
	if err == nil && reply.LeftOut > 0 {
		fmt.Fprintf(c.Err, "near: %d more clients are left out: their records do not fit into one message\n", reply.LeftOut)
	}
	return err
}

// requestNear requests until a server is ready, for a second: one that has just started may
// not be subscribed yet. It requests again if a server does not answer.
func requestNear(ctx context.Context, cfg natsbus.Config, request []byte) (reply natsbus.Reply, err error) {
	ctx, cancel := context.WithTimeout(ctx, nearTimeout)
	defer cancel()
	for began := time.Now(); ; {
		try, cancelTry := context.WithTimeout(ctx, nearTry)
		reply, err = natsbus.RequestShared(try, cfg, status.NearEndpoint, request)
		hangs := try.Err() != nil && ctx.Err() == nil
		cancelTry()
		if hangs {
			continue
		}
		if !errors.Is(err, bus.ErrUnavailable) || time.Since(began) > agreeTime || ctx.Err() != nil {
			return reply, err
		}
		select {
		case <-time.After(pollEvery):
		case <-ctx.Done():
		}
	}
}

// parseNear parses an answer. Anybody may send one on a bus without keys.
func parseNear(answer []byte) (found []printedRecord, err error) {
	found = []printedRecord{}
	for line := range bytes.Lines(answer) {
		line, _ = bytes.CutSuffix(line, []byte("\n"))
		km, r, err := wire.ParseFound(line)
		if err != nil {
			return nil, fmt.Errorf("a line of the reply is not a distance and a record: %.80q", line)
		}
		found = append(found, printedRecord{km: &km, client: r.Client(), record: &r})
	}
	return found, nil
}

func writeJSON(to io.Writer, v any) error {
	encoder := json.NewEncoder(to)
	encoder.SetIndent("", "  ")
	return encoder.Encode(v)
}

// featureCollection is clients as GeoJSON.
func featureCollection(found []printedRecord) any {
	features := []feature{}
	for _, f := range found {
		features = append(features, feature(f))
	}
	return struct {
		Type     string    `json:"type"`
		Features []feature `json:"features"`
	}{"FeatureCollection", features}
}

// rawLocation marks an argument that is a location and begins with a minus, so that kong does
// not take it for flags. rawText drops the mark. No argument has this byte by itself.
const rawLocation = "\x00"

// markLocations marks the locations among the arguments of herd near.
func markLocations(args []string) []string {
	if len(args) == 0 || args[0] != "near" {
		return args
	}
	args = slices.Clone(args)
	for i, a := range args {
		if _, _, ok := wire.ParsePosition([]byte(a)); ok && a[0] == '-' {
			args[i] = rawLocation + a
		}
	}
	return args
}
