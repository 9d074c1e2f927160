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
	"herd/bus/plural"
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
		c.isClient("get", string(g.Client))
	})
	if err != nil {
		return err
	}
	var all clientRecords
	for until := (time.Time{}); ; {
		if all, err = getRecords(ctx, s.readBus(), s.graph.Servers(), string(g.Client)); err != nil {
			return fmt.Errorf("get: %w", busHint(err))
		}
		if until.IsZero() { // the first round may have waited for servers that are down
			until = time.Now().Add(agreeTime)
		}
		if all.verdict != recordsDiffer || time.Now().After(until) || ctx.Err() != nil {
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
	servers []serverRecord // of the topology, in its order, and behind them the others that replied
	verdict recordsVerdict
}

// serverRecord is a server's record of a client.
type serverRecord struct {
	server  string
	replied bool
	line    string // "" if the server does not know the client, or has not told
	err     error  // that the server has replied in place of a record
}

// recordsVerdict is the result of comparing the records of all servers.
type recordsVerdict string

const (
	recordsAgree    recordsVerdict = "every server has the same record"
	recordsUnknown  recordsVerdict = "no server knows the client"
	recordsDiffer   recordsVerdict = "the servers' records differ"
	recordsMissing  recordsVerdict = "not every server replied"
	recordsRefused  recordsVerdict = "not every server could answer"
	nothingReceived recordsVerdict = "no server replied: is the herd running, and are HERD_TOPOLOGY and HERD_PREFIX those of the herd?"
)

// getRecords asks all servers, of which names are those of the topology, for their record of a client. A reply that is not the record of
// that client does not count: anybody may send one on a bus without keys. An error counts if
// it has the name of a server of the topology and no record of that server arrives.
func getRecords(ctx context.Context, cfg natsbus.Config, names []string, client string) (clientRecords, error) {
	all := clientRecords{client: client}
	for _, name := range names {
		all.servers = append(all.servers, serverRecord{server: name})
	}
	err := askAll(ctx, cfg, status.RecordEndpoint, []byte(client), askTimeout, func(r natsbus.Reply) (counts, more bool) {
		counts = all.take(r)
		return counts, slices.ContainsFunc(all.servers[:len(names)], func(s serverRecord) bool { return !s.replied || s.err != nil })
	})
	all.verdict = all.judge()
	return all, err
}

// take takes a reply, and reports whether it counts.
func (a *clientRecords) take(r natsbus.Reply) bool {
	line := ""
	failed := r.Err
	switch {
	case errors.Is(failed, bus.ErrUnknown):
		failed = nil
	case failed != nil:
	default:
		if parsed, err := wire.ParseRecord(r.Data); err != nil || string(parsed.Client()) != a.client {
			return false
		}
		line = string(r.Data)
	}
	i := slices.IndexFunc(a.servers, func(s serverRecord) bool { return s.server == r.Server })
	switch {
	case r.Server == "" || i < 0 && failed != nil:
		return false
	case i < 0:
		a.servers = append(a.servers, serverRecord{server: r.Server, replied: true, line: line})
		return true
	case a.servers[i].replied && (failed != nil || a.servers[i].err == nil):
		return false
	}
	a.servers[i] = serverRecord{server: r.Server, replied: true, line: line, err: failed}
	return true
}

// judge compares the records.
func (a *clientRecords) judge() recordsVerdict {
	verdict := recordsAgree
	var lines []string
	replied := false
	for _, r := range a.servers {
		replied = replied || r.replied
		switch {
		case r.err != nil:
			verdict = recordsRefused
		case !r.replied && verdict == recordsAgree:
			verdict = recordsMissing
		case r.replied && !slices.Contains(lines, r.line):
			lines = append(lines, r.line)
		}
	}
	switch {
	case !replied:
		return nothingReceived
	case len(lines) > 1:
		return recordsDiffer
	case verdict != recordsAgree:
		return verdict
	case lines[0] == "":
		return recordsUnknown
	}
	return recordsAgree
}

// text is a table of the records, and whether they agree.
func (a clientRecords) text() string {
	var b strings.Builder
	fmt.Fprintf(&b, "client %s\n\n", printable.Line(a.client))
	rows := [][]string{{"SERVER", "RECEIVED BY", "DIFFERENCE", "LOCATION", "TIME"}}
	replied := 0
	for _, r := range a.servers {
		row := []string{printable.Line(r.server), "unknown", "", "", ""}
		if r.replied {
			replied++
		}
		switch f := strings.Split(r.line, " "); {
		case len(f) == 6: // a valid record has six fields
			row = []string{row[0], f[1], f[2], f[4], f[5]}
		case r.err != nil:
			row[1] = r.err.Error()
		case !r.replied:
			row[1] = "no reply"
		}
		rows = append(rows, row)
	}
	b.WriteString(formatTable(rows, 0))
	fmt.Fprintf(&b, "\n%s replied: %s\n", plural.Of(replied, len(a.servers), "server"), a.verdict)
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
		Error        string `json:"error,omitempty"`
	}
	out := struct {
		Client       string   `json:"client,omitempty"`
		ClientBase64 string   `json:"client_base64,omitempty"`
		Agree        bool     `json:"agree"`
		Verdict      string   `json:"verdict"`
		Servers      []server `json:"servers"`
		Missing      []string `json:"missing"`
	}{Agree: a.verdict == recordsAgree, Verdict: string(a.verdict), Servers: []server{}, Missing: []string{}}
	out.Client, out.ClientBase64 = textOrBase64(a.client)
	for _, r := range a.servers {
		if !r.replied {
			out.Missing = append(out.Missing, r.server)
			continue
		}
		one := server{Server: r.server, Known: r.line != ""}
		one.Record, one.RecordBase64 = textOrBase64(r.line)
		if r.err != nil {
			one.Error = r.err.Error()
		}
		out.Servers = append(out.Servers, one)
	}
	return json.Marshal(out)
}
