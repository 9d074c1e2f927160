package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"herd/bus"
	"herd/bus/access"
	"herd/bus/natsbus"
	"herd/bus/printable"
	"herd/node/status"
	"herd/node/wire"
)

type forgetCommand struct {
	Client rawText `arg:"" help:"The client's ID, as in its reports."`
}

// Help is shown by herd forget --help.
func (forgetCommand) Help() string {
	return `All servers forget the client: its record goes, and a later report makes it known again. A server that cannot
be reached may bring a newer record back: then run the command again. It needs the operators' key.`
}

// Run makes all servers forget a client. Its error is short: what they hold is printed.
func (f forgetCommand) Run(ctx context.Context, c console) error {
	s, err := loadSettings(func(c *checker, s settings) {
		c.hasSeeds(s, access.OpsUser)
		c.isClient("forget", string(f.Client))
	})
	if err != nil {
		return err
	}
	var all forgotten
	for until := (time.Time{}); ; {
		if all, err = forgetClient(ctx, s, string(f.Client)); err != nil {
			cfg := s.busConfig(s.busURLs(), access.OpsUser)
			if errors.Is(err, bus.ErrDenied) {
				return fmt.Errorf("forget: %s (%w)", opsKeyHint(ctx, cfg), err)
			}
			return fmt.Errorf("forget: %w", busHint(err))
		}
		if until.IsZero() { // the first round may have waited for servers that are down
			until = time.Now().Add(agreeTime)
		}
		if len(all.behind) == 0 || time.Now().After(until) || ctx.Err() != nil {
			break
		}
		select { // a tombstone takes a moment to reach all servers
		case <-time.After(pollEvery):
		case <-ctx.Done():
		}
	}
	if _, err := fmt.Fprint(c.Out, all.text(string(f.Client))); err != nil {
		return err
	}
	switch {
	case len(all.replies) == 0:
		return errors.New("forget: no server replied: is the herd running, and are HERD_TOPOLOGY and HERD_PREFIX those of the herd?")
	case all.refused != nil:
		return fmt.Errorf("forget: %w", all.refused)
	case len(all.behind) > 0:
		return fmt.Errorf("forget: %s still behind the others: run the command again", strings.Join(all.behind, ", "))
	}
	return nil
}

// forgotten is what servers hold of a client that they were told to forget.
type forgotten struct {
	replies map[string]string // by server: the tombstone, or "" if it did not know the client
	refused error             // of a server that cannot forget it
	missing []string          // servers of the topology that did not reply
	behind  []string          // servers whose tombstone ranks below the greatest one
}

// forgetClient tells all servers to forget a client. A reply that is no tombstone of the client does not count: anybody
// may send one on a bus without keys.
func forgetClient(ctx context.Context, s settings, client string) (all forgotten, err error) {
	names := s.graph.Servers()
	all.replies = map[string]string{}
	err = askAll(ctx, s.readBus(), status.ForgetEndpoint, []byte(client), askTimeout, func(r natsbus.Reply) (counts, more bool) {
		counts = all.take(client, r)
		return counts, slices.ContainsFunc(names, func(name string) bool { _, replied := all.replies[name]; return !replied })
	})
	all.judge(names)
	return all, err
}

// take takes a reply, and reports whether it counts.
func (f *forgotten) take(client string, r natsbus.Reply) bool {
	switch rec, err := wire.ParseRecord(r.Data); {
	case r.Server == "":
		return false
	case errors.Is(r.Err, bus.ErrUnknown):
		f.replies[r.Server] = ""
	case r.Err != nil:
		f.replies[r.Server] = ""
		f.refused = fmt.Errorf("%s: %w", printable.Line(r.Server), r.Err)
	case err != nil || !rec.IsTombstone() || string(rec.Client()) != client:
		return false
	default:
		f.replies[r.Server] = string(r.Data)
	}
	return true
}

// judge finds who is missing, and who is behind the greatest tombstone.
func (f *forgotten) judge(names []string) {
	var greatest wire.Record
	for _, line := range f.replies {
		if rec, err := wire.ParseRecord([]byte(line)); err == nil && (greatest.Line == nil || wire.Compare(rec, greatest) > 0) {
			greatest = rec
		}
	}
	for server, line := range f.replies {
		if greatest.Line != nil && line != "" && line != string(greatest.Line) {
			f.behind = append(f.behind, printable.Line(server))
		}
	}
	slices.Sort(f.behind)
	for _, name := range names {
		if _, replied := f.replies[name]; !replied {
			f.missing = append(f.missing, name)
		}
	}
}

// text says what the servers hold.
func (f forgotten) text(client string) string {
	var b strings.Builder
	held := 0
	for _, line := range f.replies {
		if line != "" {
			held++
		}
	}
	switch {
	case len(f.replies) == 0:
		return ""
	case held == 0:
		fmt.Fprintf(&b, "no server knows the client %s\n", printable.Line(client))
	default:
		fmt.Fprintf(&b, "client %s is unknown from now on\n", printable.Line(client))
	}
	if len(f.missing) > 0 {
		fmt.Fprintf(&b, "no reply from %s: if it has a newer record, the client comes back with it\n", strings.Join(f.missing, ", "))
	}
	return b.String()
}
