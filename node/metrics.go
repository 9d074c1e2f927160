package node

import (
	"maps"
	"math"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"herd/node/replica"
)

// Metrics is what Prometheus learns of servers, each under a label with its name, and
// each edge under one with the neighbour's too. Nothing is named for a client. A
// server counts as it goes, under the lock that it holds anyway; all else happens
// when somebody asks.
func Metrics(nodes ...*Node) prometheus.Collector { return collector(nodes) }

type collector []*Node

// Describe tells of all metrics there may be: prometheus.Collector.
func (c collector) Describe(out chan<- *prometheus.Desc) {
	for _, m := range serverMetrics {
		out <- m.desc
	}
	for _, m := range edgeMetrics {
		out <- m.desc
	}
	out <- latencyDesc
	out <- eventsDesc
}

// Collect gathers them: prometheus.Collector.
func (c collector) Collect(out chan<- prometheus.Metric) {
	for _, n := range c {
		s := n.sample()
		for _, m := range serverMetrics {
			m.send(out, s, n.cfg.Name)
		}
		for _, e := range s.edges {
			for _, m := range edgeMetrics {
				m.send(out, e, n.cfg.Name, e.peer)
			}
		}
		for to := range commands {
			count, sum, within := n.latencies[to].read()
			out <- prometheus.MustNewConstHistogram(latencyDesc, count, sum, within, n.cfg.Name, to.String())
		}
		for _, k := range kinds {
			out <- prometheus.MustNewConstMetric(eventsDesc, prometheus.CounterValue, float64(s.events[k]), n.cfg.Name, string(k))
		}
	}
}

// sample is a server at one moment.
type sample struct {
	ready, bus, journalFails     bool
	records, clients, unsendable int
	accepted, refused            uint64
	reports                      replica.Reports
	events                       map[replica.Kind]uint64
	journalRecords               int
	journalAge                   time.Duration
	edges                        []edgeSample
}

// edgeSample is one of its edges.
type edgeSample struct {
	peer                  string
	up, inStep, repairing bool
	waiting               int
	beatAge, skew         float64 // seconds; NaN where unknown, skew also where the neighbour is down
	replica.Counts
}

func (n *Node) sample() sample {
	s := sample{ready: n.Ready() == nil}
	now := time.Now()
	n.mu.Lock()
	defer n.mu.Unlock()
	s.bus, s.journalFails = n.bus == present, n.journal.failed
	s.records, s.clients, s.unsendable = n.replica.Map().Len(), len(n.sessions.open), n.unsendable
	s.accepted, s.refused = n.sessions.accepts, n.sessions.refuses
	s.reports, s.events = n.replica.Reports(), maps.Clone(n.events)
	s.journalRecords, s.journalAge = n.journalLag(now)
	for e, peer := range n.cfg.Neighbours {
		i := edgeSample{peer: peer, inStep: n.replica.InStep(e), repairing: n.replica.Repairing(e), Counts: n.replica.Counts(e)}
		i.waiting, i.up = n.replica.Waiting(e)
		i.beatAge, i.skew = math.NaN(), math.NaN()
		if age := n.replica.BeatAge(e, now); age >= 0 {
			i.beatAge = age
		}
		if ahead, known := n.replica.Skew(e); known && i.up { // what a clock was is nobody's care
			i.skew = ahead.Seconds()
		}
		s.edges = append(s.edges, i)
	}
	return s
}

// metric is one number of a server or an edge.
type metric[of any] struct {
	desc  *prometheus.Desc
	kind  prometheus.ValueType
	value func(of) float64 // NaN for nothing to tell
}

func (m metric[of]) send(out chan<- prometheus.Metric, o of, labels ...string) {
	if v := m.value(o); !math.IsNaN(v) {
		out <- prometheus.MustNewConstMetric(m.desc, m.kind, v, labels...)
	}
}

var (
	ofServer = []string{"server"}
	ofEdge   = []string{"server", "peer"}

	latencyDesc = prometheus.NewDesc("herd_reply_duration_seconds",
		"From when a command was read until its reply was written; commands are iamat, whatsat and invalid.", []string{"server", "command"}, nil)
	eventsDesc = prometheus.NewDesc("herd_events_total",
		"Events told of, by the kinds of herd.event.<server>.<kind>.", []string{"server", "kind"}, nil)
)

func gauge[of any](name, help string, labels []string, value func(of) float64) metric[of] {
	return metric[of]{prometheus.NewDesc(name, help, labels, nil), prometheus.GaugeValue, value}
}

// counter is of one of the values of a label, or of no label where there is none.
func counter[of any](name, help string, labels []string, label prometheus.Labels, value func(of) float64) metric[of] {
	return metric[of]{prometheus.NewDesc(name, help, labels, label), prometheus.CounterValue, value}
}

func outcome(is string) prometheus.Labels { return prometheus.Labels{"outcome": is} }

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

const (
	reportsHelp  = "Reports of clients, by what they came to: news, duplicate, stale, or refused because the map is full."
	receivedHelp = "Records that came over the edge, by what merging them came to."
	repairsHelp  = "Comparisons of maps with the neighbour, by how they ended: done, or abandoned to be tried again."
	broughtHelp  = "Records that comparisons brought, by whether they were news."
)

var serverMetrics = []metric[sample]{
	gauge("herd_ready", "Whether the server is ready, as /readyz has it.", ofServer, func(s sample) float64 { return truth(s.ready) }),
	gauge("herd_bus_connected", "Whether the server is connected to NATS.", ofServer, func(s sample) float64 { return truth(s.bus) }),
	gauge("herd_records", "Clients whose place the server knows.", ofServer, func(s sample) float64 { return float64(s.records) }),
	gauge("herd_client_connections", "Connections of clients that are open.", ofServer, func(s sample) float64 { return float64(s.clients) }),
	counter("herd_client_connections_accepted_total", "Connections of clients that were accepted.", ofServer, nil,
		func(s sample) float64 { return float64(s.accepted) }),
	counter("herd_client_connections_refused_total", "Connections of clients that were refused because there are too many.", ofServer, nil,
		func(s sample) float64 { return float64(s.refused) }),
	counter("herd_reports_total", reportsHelp, ofServer, outcome("news"), func(s sample) float64 { return float64(s.reports.News) }),
	counter("herd_reports_total", reportsHelp, ofServer, outcome("duplicate"), func(s sample) float64 { return float64(s.reports.Duplicates) }),
	counter("herd_reports_total", reportsHelp, ofServer, outcome("stale"), func(s sample) float64 { return float64(s.reports.Stale) }),
	counter("herd_reports_total", reportsHelp, ofServer, outcome("refused"), func(s sample) float64 { return float64(s.reports.Full) }),
	counter("herd_unsendable_records_total", "Records that are larger than NATS takes.", ofServer, nil, func(s sample) float64 { return float64(s.unsendable) }),
	gauge("herd_journal_lag_records", "Records that are not yet in the journal.", ofServer, func(s sample) float64 { return float64(s.journalRecords) }),
	gauge("herd_journal_lag_seconds", "How long the oldest of them has waited.", ofServer, func(s sample) float64 { return s.journalAge.Seconds() }),
	gauge("herd_journal_failing", "Whether the journal did not take what it was last given.", ofServer, func(s sample) float64 { return truth(s.journalFails) }),
}

var edgeMetrics = []metric[edgeSample]{
	gauge("herd_edge_up", "Whether the neighbour is up.", ofEdge, func(e edgeSample) float64 { return truth(e.up) }),
	gauge("herd_edge_in_step", "Whether the server is in step with the neighbour.", ofEdge, func(e edgeSample) float64 { return truth(e.inStep) }),
	gauge("herd_edge_repairing", "Whether a comparison with the neighbour runs.", ofEdge, func(e edgeSample) float64 { return truth(e.repairing) }),
	gauge("herd_edge_beat_age_seconds", "Since the neighbour was last heard.", ofEdge, func(e edgeSample) float64 { return e.beatAge }),
	gauge("herd_edge_clock_skew_seconds", "How far the neighbour's clock is ahead.", ofEdge, func(e edgeSample) float64 { return e.skew }),
	gauge("herd_edge_outbox_records", "Records that wait to be sent, but for those that another neighbour has just told it.", ofEdge, func(e edgeSample) float64 { return float64(e.waiting) }),
	counter("herd_edge_received_records_total", receivedHelp, ofEdge, outcome("news"), func(e edgeSample) float64 { return float64(e.News) }),
	counter("herd_edge_received_records_total", receivedHelp, ofEdge, outcome("duplicate"), func(e edgeSample) float64 { return float64(e.Duplicates) }),
	counter("herd_edge_received_records_total", receivedHelp, ofEdge, outcome("stale"), func(e edgeSample) float64 { return float64(e.Stale) }),
	counter("herd_edge_sent_records_total", "Records that were sent.", ofEdge, nil, func(e edgeSample) float64 { return float64(e.Out) }),
	counter("herd_edge_received_bytes_total", "Bytes of the messages of records that came.", ofEdge, nil, func(e edgeSample) float64 { return float64(e.BytesIn) }),
	counter("herd_edge_sent_bytes_total", "Bytes of the messages of records that were sent.", ofEdge, nil, func(e edgeSample) float64 { return float64(e.BytesOut) }),
	counter("herd_edge_received_messages_total", "Messages of records that came.", ofEdge, nil, func(e edgeSample) float64 { return float64(e.MessagesIn) }),
	counter("herd_edge_sent_messages_total", "Messages of records that were sent.", ofEdge, nil, func(e edgeSample) float64 { return float64(e.MessagesOut) }),
	counter("herd_edge_lost_messages_total", "Messages of the neighbour's that did not come.", ofEdge, nil, func(e edgeSample) float64 { return float64(e.Lost) }),
	counter("herd_edge_bad_lines_total", "Lines that came and were no records.", ofEdge, nil, func(e edgeSample) float64 { return float64(e.Bad) }),
	counter("herd_edge_repairs_total", repairsHelp, ofEdge, prometheus.Labels{"result": "done"}, func(e edgeSample) float64 { return float64(e.Repairs) }),
	counter("herd_edge_repairs_total", repairsHelp, ofEdge, prometheus.Labels{"result": "abandoned"}, func(e edgeSample) float64 { return float64(e.Abandoned) }),
	counter("herd_edge_repair_records_total", broughtHelp, ofEdge, outcome("news"), func(e edgeSample) float64 { return float64(e.RepairNews) }),
	counter("herd_edge_repair_records_total", broughtHelp, ofEdge, outcome("known"), func(e edgeSample) float64 { return float64(e.RepairLines - e.RepairNews) }),
	counter("herd_edge_repair_bytes_total", "Bytes of what answered our comparisons.", ofEdge, nil, func(e edgeSample) float64 { return float64(e.RepairBytes) }),
}
