package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"herd/bus"
	"herd/bus/natsbus"
	"herd/bus/printable"
	"herd/node/status"
	"herd/node/wire"
)

type getCommand struct {
	Client rawText `arg:"" help:"The client's ID, as in its reports."`
	JSON   bool    `name:"json" help:"Print JSON."`
}

// agreeTime is how long servers may differ: a report takes a moment to reach all of them.
const agreeTime = time.Second

// Run asks all servers for the client's record. Its error is short: the records are printed.
func (g getCommand) Run(ctx context.Context, c console) error {
	s, err := loadSettings(func(c *checker, s settings) {
		c.hasSeeds(s, s.readUser())
		if g.Client == "" || strings.ContainsAny(string(g.Client), whiteSpace) {
			c.fault("get", "%q is not a client's ID: it has no white space, and is not empty", g.Client)
		}
	})
	if err != nil {
		return err
	}
	var all clientRecords
	for began := time.Now(); ; {
		if all, err = getRecords(ctx, s, string(g.Client)); err != nil {
			return fmt.Errorf("get: %w", busHint(err))
		}
		if all.verdict != recordsDiffer || time.Since(began) > agreeTime || ctx.Err() != nil {
			break
		}
		select {
		case <-time.After(pollEvery):
		case <-ctx.Done():
		}
	}
	if g.JSON {
		encoder := json.NewEncoder(c.Out)
		encoder.SetIndent("", "  ")
		err = encoder.Encode(all)
	} else {
		_, err = fmt.Fprint(c.Out, all.text())
	}
	switch {
	case err != nil:
		return err
	case all.verdict == recordsAgree:
		return nil
	}
	return fmt.Errorf("get: %s", all.verdict)
}

// clientRecords is what each server knows of a client.
type clientRecords struct {
	client  string
	servers []serverRecord // that replied; those of the topology come first
	missing []string       // servers of the topology that did not reply
	verdict recordsVerdict
}

// serverRecord is a server's record of a client.
type serverRecord struct {
	server string
	line   string // "" if the server does not know the client
}

// recordsVerdict is the result of comparing the records of all servers.
type recordsVerdict string

const (
	recordsAgree    recordsVerdict = "every server has the same record"
	recordsUnknown  recordsVerdict = "no server knows the client"
	recordsDiffer   recordsVerdict = "the servers' records differ"
	recordsMissing  recordsVerdict = "not every server replied"
	nothingReceived recordsVerdict = "no server replied: is the herd running, and are HERD_TOPOLOGY and HERD_PREFIX those of the herd?"
)

// getRecords asks all servers for their record of a client. A reply that is not the record of
// that client does not count: anybody may send one on a bus without keys.
func getRecords(ctx context.Context, s settings, client string) (clientRecords, error) {
	began := time.Now()
	ctx, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	all := clientRecords{client: client}
	names := s.graph.Servers()
	replied := func(name string) bool {
		return slices.ContainsFunc(all.servers, func(r serverRecord) bool { return r.server == name })
	}
	var refused error
	err := natsbus.Ask(ctx, s.busConfig(s.busURLs(), s.readUser()), status.RecordEndpoint, []byte(client), func(r natsbus.Reply) (more bool) {
		record := serverRecord{server: r.Server}
		switch {
		case r.Server == "" || replied(r.Server):
			return true
		case errors.Is(r.Err, bus.ErrUnknown):
		case r.Err != nil:
			refused = fmt.Errorf("%s: %w", printable.Line(r.Server), r.Err)
			return true
		default:
			if parsed, err := wire.ParseRecord(r.Data); err != nil || string(parsed.Client()) != client {
				return true
			}
			record.line = string(r.Data)
		}
		if all.servers = append(all.servers, record); len(all.servers) == 1 {
			time.AfterFunc(max(replyTimeout, time.Since(began)), cancel)
		}
		return slices.ContainsFunc(names, func(name string) bool { return !replied(name) })
	})
	if err == nil {
		err = refused
	}
	all.judge(names)
	return all, err
}

// judge compares the records, and puts those of the topology's servers first.
func (a *clientRecords) judge(names []string) {
	index := func(server string) int {
		if i := slices.Index(names, server); i >= 0 {
			return i
		}
		return len(names)
	}
	slices.SortStableFunc(a.servers, func(x, y serverRecord) int { return index(x.server) - index(y.server) })
	for _, name := range names {
		if !slices.ContainsFunc(a.servers, func(r serverRecord) bool { return r.server == name }) {
			a.missing = append(a.missing, name)
		}
	}
	different := func(r serverRecord) bool { return r.line != a.servers[0].line }
	switch {
	case len(a.servers) == 0:
		a.verdict = nothingReceived
	case slices.ContainsFunc(a.servers, different):
		a.verdict = recordsDiffer
	case len(a.missing) > 0:
		a.verdict = recordsMissing
	case a.servers[0].line == "":
		a.verdict = recordsUnknown
	default:
		a.verdict = recordsAgree
	}
}

// text is a table of the records, and whether they agree.
func (a clientRecords) text() string {
	var b strings.Builder
	fmt.Fprintf(&b, "client %s\n\n", printable.Line(a.client))
	rows := [][]string{{"SERVER", "RECEIVED BY", "DIFFERENCE", "LOCATION", "TIME"}}
	for _, r := range a.servers {
		row := []string{printable.Line(r.server), "unknown", "", "", ""}
		if f := strings.Split(r.line, " "); len(f) == 6 { // a valid record has six fields
			row = []string{row[0], f[1], f[2], f[4], f[5]}
		}
		rows = append(rows, row)
	}
	for _, name := range a.missing {
		rows = append(rows, []string{name, "no reply", "", "", ""})
	}
	b.WriteString(formatTable(rows, 0))
	fmt.Fprintf(&b, "\n%d of %d servers replied: %s\n", len(a.servers), len(a.servers)+len(a.missing), a.verdict)
	return b.String()
}

// MarshalJSON is the records for programs. What is not UTF-8 is in fields of its own, as
// base64.
func (a clientRecords) MarshalJSON() ([]byte, error) {
	type server struct {
		Server       string `json:"server"`
		Known        bool   `json:"known"`
		Record       string `json:"record,omitempty"`
		RecordBase64 string `json:"record_base64,omitempty"`
	}
	out := struct {
		Client       string   `json:"client,omitempty"`
		ClientBase64 string   `json:"client_base64,omitempty"`
		Agree        bool     `json:"agree"`
		Verdict      string   `json:"verdict"`
		Servers      []server `json:"servers"`
		Missing      []string `json:"missing"`
	}{Agree: a.verdict == recordsAgree, Verdict: string(a.verdict), Servers: []server{}, Missing: append([]string{}, a.missing...)}
	out.Client, out.ClientBase64 = textOrBase64(a.client)
	for _, r := range a.servers {
		one := server{Server: r.server, Known: r.line != ""}
		one.Record, one.RecordBase64 = textOrBase64(r.line)
		out.Servers = append(out.Servers, one)
	}
	return json.Marshal(out)
}
