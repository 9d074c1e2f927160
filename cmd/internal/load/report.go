package load

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"herd/bus/plural"
	"herd/cmd/internal/plot"
)

// Report is the result of a load.
type Report struct {
	Addresses   []string
	Connections int
	Pipeline    int
	Clients     int
	Rate        float64 // as configured
	Interrupted bool

	Commands    int           // sent
	Updates     int           // acknowledged IAMATs
	Replies     int           // to any command, including wrong ones
	Wrong       int           // replies
	Unanswered  int           // commands
	Unsent      int           // commands that were due at Rate while Pipeline were in flight
	Elapsed     time.Duration // from the start to the last reply
	Latencies   Histogram     // of all replies
	Servers     []Figures     // of each server that commands were sent to
	Samples     []Sample      // of all replies, at even intervals of 100 ms or more; the last one is at the end
	WrongSome   []WrongReply  // some of the wrong replies
	Errors      []string      // some of the errors
	Failures    int           // number of errors
	Replication *Replication  // nil: not measured
	Check       *Check        // nil: not done
}

// Figures are the replies of one server.
type Figures struct {
	Address   string
	Server    string // its name; "" if it did not reply
	Replies   int
	Latencies Histogram
}

// Sample is the number of replies up to a time.
type Sample struct {
	Elapsed time.Duration
	Replies int
}

// WrongReply is a reply that is not correct for its command. Without a command, it is
// output that the server sent after all replies.
type WrongReply struct {
	Address string `json:"address"`
	Command string `json:"command,omitempty"`
	Reply   string `json:"reply"`
}

// sum adds up the counts of all connections.
func (r *run) sum(report *Report) {
	for _, c := range r.conns {
		report.Commands += int(c.sent.Load())
		report.Replies += int(c.done.Load())
		report.Updates += c.updates
		report.Wrong += c.wrong
		report.Latencies.Add(&c.latencies)
		report.addTo(c)
	}
	report.Samples = r.samples
	report.Unanswered = report.Commands - report.Replies
	report.WrongSome, report.Errors, report.Failures = r.wrong, r.errs, r.failures
}

// addTo adds the figures of a connection to those of its server.
func (r *Report) addTo(c *conn) {
	i := slices.IndexFunc(r.Servers, func(f Figures) bool { return f.Address == c.target.address })
	if i < 0 {
		i = len(r.Servers)
		r.Servers = append(r.Servers, Figures{Address: c.target.address})
	}
	f := &r.Servers[i]
	if name := c.target.name.Load(); name != nil {
		f.Server = *name
	}
	f.Replies += int(c.done.Load())
	f.Latencies.Add(&c.latencies)
}

// Answered is the number of replies per second, until the last of them.
func (r *Report) Answered() float64 { return perSecond(r.Replies, r.Elapsed) }

// Replicated is the number of updates per second, until every server had the last of
// them; 0 if that was not measured or did not happen in time.
func (r *Report) Replicated() float64 {
	if r.Replication == nil {
		return 0
	}
	return perSecond(r.Updates, r.Replication.Elapsed)
}

func perSecond(n int, in time.Duration) float64 {
	if in <= 0 {
		return 0
	}
	return float64(n) / in.Seconds()
}

// Fault is nil if every reply was correct and every server has the right records.
func (r *Report) Fault() error {
	var what []string
	add := func(n int, words string) {
		if n > 0 {
			what = append(what, words+": "+count(n))
		}
	}
	add(r.Failures, "failed connections")
	add(r.Wrong, "wrong replies")
	if !r.Interrupted {
		add(r.Unanswered, "unanswered commands")
	}
	if c := r.Check; c != nil {
		add(c.Lost, "records lost")
		add(c.Differing, "records differing")
	}
	if p := r.Replication; p != nil && !p.All && !r.Interrupted && r.Updates > 0 {
		what = append(what, "the last updates did not reach every server in time")
	}
	if len(what) == 0 {
		return nil
	}
	return fmt.Errorf("%s", strings.Join(what, "; "))
}

// Text is the report for people.
func (r *Report) Text() string {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	rate := "as fast as possible"
	if r.Rate > 0 {
		rate = fmt.Sprintf("at %s/s", counted(int(r.Rate+0.5), "command"))
	}
	line("load        %s, %d in flight on each, %s, %s", counted(r.Connections, "connection"), r.Pipeline, counted(r.Clients, "client"), rate)
	if r.Interrupted {
		line("            interrupted: the figures so far")
	}
	line("replies     %s in %.3f s: %s right, %s wrong; %s unanswered", count(r.Replies), r.Elapsed.Seconds(),
		count(r.Replies-min(r.Replies, r.Wrong)), count(r.Wrong), counted(r.Unanswered, "command"))
	line("answered    %s/s", count(int(r.Answered()+0.5)))
	if r.Unsent > 0 {
		line("            %s not sent in time: the servers did not keep up", counted(r.Unsent, "command"))
	}
	switch p := r.Replication; {
	case p == nil:
	case p.All:
		line("replicated  %s/s: all %s at %s after %.3f s", counted(int(r.Replicated()+0.5), "update"), count(r.Updates), counted(len(r.Addresses), "server"), p.Elapsed.Seconds())
	case len(p.Missing) > 0:
		line("replicated  not in time at %s", strings.Join(p.Missing, ", "))
	}
	if h := &r.Latencies; h.Total() > 0 {
		from := "since the command was sent"
		if r.Rate > 0 {
			from = "since the command was due"
		}
		line("latency     p50 %v, p99 %v, p99.9 %v, max %v, %s", Short(h.Quantile(.5)), Short(h.Quantile(.99)), Short(h.Quantile(.999)), Short(h.Max()), from)
	}
	if c := r.Check; c != nil && c.Servers > 0 && c.Of > 0 {
		which := "all"
		if c.Records < c.Of {
			which = "a sample of"
		}
		line("records     %s %s checked at %s: %s lost, %s differing, %s late", which, count(c.Records), counted(c.Servers, "server"),
			count(c.Lost), count(c.Differing), count(c.Late))
		for _, m := range c.Examples {
			line("  at %s\n    got  %q\n    want %q", m.Address, m.Got, m.Want)
		}
	}
	for _, w := range r.WrongSome {
		line("wrong reply from %s\n  to %q\n  %q", w.Address, w.Command, w.Reply)
	}
	for _, e := range r.Errors {
		line("error: %s", e)
	}
	if more := r.Failures - len(r.Errors); more > 0 {
		line("and %s", counted(more, "more error"))
	}
	b.WriteString(r.table())
	return b.String()
}

// table has a row for each server, and one for all.
func (r *Report) table() string {
	if r.Latencies.Total() == 0 {
		return ""
	}
	var b strings.Builder
	b.WriteString("\n")
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "SERVER\tADDRESS\tREPLIES\tPER SECOND\tP50\tP99\tP99.9\tMAX")
	row := func(server, address string, replies int, h *Histogram) {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%v\t%v\t%v\t%v\n", server, address, count(replies), count(int(perSecond(replies, r.Elapsed)+0.5)),
			Short(h.Quantile(.5)), Short(h.Quantile(.99)), Short(h.Quantile(.999)), Short(h.Max()))
	}
	for i := range r.Servers {
		f := &r.Servers[i]
		row(cmp.Or(f.Server, "-"), f.Address, f.Replies, &f.Latencies)
	}
	if len(r.Servers) > 1 {
		row("all", "", r.Replies, &r.Latencies)
	}
	w.Flush()
	return b.String()
}

// Short is d rounded to two or three digits.
func Short(d time.Duration) time.Duration {
	for unit := time.Second; unit > 1; unit /= 10 {
		if d >= unit*10 {
			return d.Round(unit / 10)
		}
	}
	return d
}

func counted(n int, what string) string { return count(n) + " " + plural.Noun(n, what) }

// count is n with commas.
func count(n int) string { return plot.Number(float64(n)) }

// MarshalJSON is the report for programs: rates per second, times in seconds, latencies
// in microseconds.
func (r *Report) MarshalJSON() ([]byte, error) {
	type latency struct {
		P50  float64 `json:"p50"`
		P99  float64 `json:"p99"`
		P999 float64 `json:"p99.9"`
		Max  float64 `json:"max"`
	}
	type server struct {
		Address string  `json:"address"`
		Server  string  `json:"server"`
		Replies int     `json:"replies"`
		Latency latency `json:"latency_us"`
	}
	type check struct {
		Records   int        `json:"records"` // checked at each server
		Of        int        `json:"of"`
		Servers   int        `json:"servers"`
		Lost      int        `json:"lost"`
		Differing int        `json:"differing"`
		Late      int        `json:"late"`
		Examples  []Mismatch `json:"examples,omitempty"`
	}
	out := struct {
		OK            bool         `json:"ok"`
		Interrupted   bool         `json:"interrupted"`
		Addresses     []string     `json:"addresses"`
		Connections   int          `json:"connections"`
		Pipeline      int          `json:"pipeline"`
		Clients       int          `json:"clients"`
		Rate          float64      `json:"rate"` // as configured; 0: as fast as possible
		Commands      int          `json:"commands"`
		Updates       int          `json:"updates"`
		Replies       int          `json:"replies"`
		Wrong         int          `json:"wrong"`
		Unanswered    int          `json:"unanswered"`
		Unsent        int          `json:"unsent"` // due at the rate, but not sent
		Seconds       float64      `json:"seconds"`
		Answered      float64      `json:"answered_per_second"`
		Replicated    *float64     `json:"replicated_per_second"` // null: not measured, or not in time
		Latency       latency      `json:"latency_us"`
		Servers       []server     `json:"servers"` // those that commands were sent to
		Check         *check       `json:"check"`   // null: not done
		WrongExamples []WrongReply `json:"wrong_examples,omitempty"`
		Failures      int          `json:"failures"`
		Errors        []string     `json:"errors,omitempty"`
	}{
		OK: r.Fault() == nil, Interrupted: r.Interrupted, Addresses: r.Addresses, Connections: r.Connections, Pipeline: r.Pipeline,
		Clients: r.Clients, Rate: r.Rate, Commands: r.Commands, Updates: r.Updates, Replies: r.Replies, Wrong: r.Wrong,
		Unanswered: r.Unanswered, Unsent: r.Unsent, Seconds: r.Elapsed.Seconds(), Answered: r.Answered(),
		Servers: []server{}, WrongExamples: r.WrongSome, Failures: r.Failures, Errors: r.Errors,
	}
	if rate := r.Replicated(); rate > 0 {
		out.Replicated = &rate
	}
	us := func(d time.Duration) float64 { return float64(d) / 1e3 }
	latencies := func(h *Histogram) latency {
		return latency{us(h.Quantile(.5)), us(h.Quantile(.99)), us(h.Quantile(.999)), us(h.Max())}
	}
	out.Latency = latencies(&r.Latencies)
	for i := range r.Servers {
		f := &r.Servers[i]
		out.Servers = append(out.Servers, server{f.Address, f.Server, f.Replies, latencies(&f.Latencies)})
	}
	if c := r.Check; c != nil {
		out.Check = &check{c.Records, c.Of, c.Servers, c.Lost, c.Differing, c.Late, c.Examples}
	}
	return json.Marshal(out)
}
