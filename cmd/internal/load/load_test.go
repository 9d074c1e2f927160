package load

import (
	"encoding/json"
	"strings"
	"testing"
	"time"
)

// small is a load of a moment, on one connection.
func small(addresses ...string) Config {
	return Config{
		Addresses: addresses, First: true, Connections: 1, Pipeline: 16, Clients: 10, Name: "t",
		Duration: time.Minute, Count: 1000, Patience: time.Minute, Settle: time.Minute, Check: 1000,
	}
}

func mustRun(t *testing.T, cfg Config) Report {
	t.Helper()
	report, err := Run(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	return report
}

func TestHonest(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name    string
		change  func(*Config)
		updates int
	}{
		{"one connection", func(c *Config) {}, 1000},
		{"one at a time", func(c *Config) { c.Pipeline = 1 }, 1000},
		{"all servers", func(c *Config) { c.First = false; c.Connections = 10; c.Pipeline = 3 }, 1000},
		{"questions", func(c *Config) { c.Asks = 0.25 }, 750},
		{"a ring that does not divide the count", func(c *Config) { c.Pipeline = 7 }, 1000},
		{"at a rate", func(c *Config) { c.Rate = 20_000; c.Connections = 3; c.Asks = 0.25 }, 750},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			h := &herd{}
			cfg := small(h.listen(t, "A", "B_2", "C")...)
			tt.change(&cfg)
			r := mustRun(t, cfg)
			if err := r.Fault(); err != nil {
				t.Errorf("Fault = %v\n%s", err, r.Text())
			}
			fractions := cfg.Connections - 1 // the share of questions is each connection's own
			if r.Commands != 1000 || r.Replies != 1000 || h.heard != 1000 || r.Updates < tt.updates || r.Updates > tt.updates+fractions {
				t.Errorf("%d sent, %d answered, %d updates; the server heard %d", r.Commands, r.Replies, r.Updates, h.heard)
			}
			if c := r.Check; c.Records != 10 || c.Servers != 3 || !r.Replication.All || r.Replicated() == 0 {
				t.Errorf("check %+v, replication %+v", c, r.Replication)
			}
			if n := r.Latencies.Total(); n != 1000 {
				t.Errorf("%d latencies", n)
			}
			checkFigures(t, r)
			if _, err := json.Marshal(&r); err != nil {
				t.Error(err)
			}
		})
	}
}

// checkFigures checks that the figures of the servers, the buckets and the samples of a report
// add up.
func checkFigures(t *testing.T, r Report) {
	t.Helper()
	replies, latencies := 0, uint64(0)
	for i := range r.Servers {
		f := &r.Servers[i]
		if f.Address != r.Addresses[i] || f.Server != []string{"A", "B_2", "C"}[i] || !strings.Contains(r.Text(), "\n"+f.Server+" ") {
			t.Errorf("figures of %q at %s", f.Server, f.Address)
		}
		replies += f.Replies
		latencies += f.Latencies.Total()
	}
	if replies != r.Replies || latencies != r.Latencies.Total() || strings.Contains(r.Text(), "\nall ") != (len(r.Servers) > 1) {
		t.Errorf("the servers have %d replies and %d latencies:\n%s", replies, latencies, r.Text())
	}
	counted, end := 0, time.Duration(-1)
	for _, b := range r.Latencies.Buckets() {
		if b.From <= end || b.To < b.From {
			t.Errorf("a bucket from %v to %v, after %v", b.From, b.To, end)
		}
		counted += b.Count
		end = b.To
	}
	if counted != r.Replies || end != r.Latencies.Max() {
		t.Errorf("the buckets have %d replies, up to %v", counted, end)
	}
	last := Sample{}
	for _, s := range r.Samples {
		if s.Elapsed <= last.Elapsed || s.Replies < last.Replies {
			t.Errorf("sample %+v after %+v", s, last)
		}
		last = s
	}
	if last.Replies != r.Replies || last.Elapsed < r.Elapsed {
		t.Errorf("the last sample is %+v", last)
	}
}

// TestCountCoversClients: as many commands as clients report each of them once, as
// fast or slow as the connections are.
func TestCountCoversClients(t *testing.T) {
	t.Parallel()
	for _, rate := range []float64{0, 100_000} {
		h := &herd{}
		cfg := small(h.listen(t, "A", "B")...)
		cfg.First, cfg.Connections, cfg.Rate = false, 7, rate
		cfg.Count, cfg.Clients = 1000, 1000
		r := mustRun(t, cfg)
		if r.Fault() != nil || r.Check.Of != 1000 || r.Check.Records != 1000 || len(h.records) != 1000 {
			t.Errorf("%v, check %+v, %d records", r.Fault(), r.Check, len(h.records))
		}
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}
