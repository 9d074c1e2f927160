package opshttp

import (
	"maps"
	"math"
	"slices"

	"github.com/prometheus/client_golang/prometheus"

	"herd/node"
	"herd/node/replica"
)

// Metrics collects the metrics of servers, labelled with the server's name, and those of
// an edge also with the neighbour's. No label names a client. Servers count as they go;
// everything else happens when Prometheus asks.
func Metrics(servers ...Server) prometheus.Collector { return collector(servers) }

type collector []Server

// Describe lists all metrics: prometheus.Collector.
func (c collector) Describe(out chan<- *prometheus.Desc) {
	for _, m := range serverMetrics {
		out <- m.desc
	}
	for _, m := range edgeMetrics {
		out <- m.desc
	}
	out <- latencyDesc
	out <- eventsDesc
	out <- refusalsDesc
	out <- nearDesc
	out <- nearTookDesc
}

// Collect collects them: prometheus.Collector.
func (c collector) Collect(out chan<- prometheus.Metric) {
	for _, n := range c {
		s, name := n.Stats(), n.Name()
		for _, m := range serverMetrics {
			m.send(out, s, name)
		}
		for _, e := range s.Edges {
			for _, m := range edgeMetrics {
				m.send(out, e, name, e.Peer)
			}
		}
		for _, command := range slices.Sorted(maps.Keys(s.Latencies)) {
			l := s.Latencies[command]
			out <- prometheus.MustNewConstHistogram(latencyDesc, l.Count, l.Sum, l.Within, name, command)
		}
		for _, kind := range slices.Sorted(maps.Keys(s.Events)) {
			out <- prometheus.MustNewConstMetric(eventsDesc, prometheus.CounterValue, float64(s.Events[kind]), name, kind)
		}
		for _, reason := range slices.Sorted(maps.Keys(s.Refusals)) {
			out <- prometheus.MustNewConstMetric(refusalsDesc, prometheus.CounterValue, float64(s.Refusals[reason]), name, reason)
		}
		for _, result := range slices.Sorted(maps.Keys(s.Near.Requests)) {
			out <- prometheus.MustNewConstMetric(nearDesc, prometheus.CounterValue, float64(s.Near.Requests[result]), name, result)
		}
		for _, stage := range slices.Sorted(maps.Keys(s.Near.Took)) {
			l := s.Near.Took[stage]
			out <- prometheus.MustNewConstHistogram(nearTookDesc, l.Count, l.Sum, l.Within, name, stage)
		}
	}
}

// metric is one number of a server or an edge.
type metric[T any] struct {
	desc  *prometheus.Desc
	kind  prometheus.ValueType
	value func(T) float64 // NaN for no value
}

func (m metric[T]) send(out chan<- prometheus.Metric, of T, labels ...string) {
	if v := m.value(of); !math.IsNaN(v) {
		out <- prometheus.MustNewConstMetric(m.desc, m.kind, v, labels...)
	}
}

func serverGauge(name, help string, value func(node.Stats) float64) metric[node.Stats] {
	return metric[node.Stats]{prometheus.NewDesc(name, help, []string{"server"}, nil), prometheus.GaugeValue, value}
}

func serverCounter(name, help string, constant prometheus.Labels, value func(node.Stats) uint64) metric[node.Stats] {
	return metric[node.Stats]{prometheus.NewDesc(name, help, []string{"server"}, constant), prometheus.CounterValue,
		func(s node.Stats) float64 { return float64(value(s)) }}
}

func edgeGauge(name, help string, value func(replica.EdgeInfo) float64) metric[replica.EdgeInfo] {
	return metric[replica.EdgeInfo]{prometheus.NewDesc(name, help, []string{"server", "peer"}, nil), prometheus.GaugeValue, value}
}

func edgeCounter(name, help string, constant prometheus.Labels, value func(replica.EdgeInfo) uint64) metric[replica.EdgeInfo] {
	return metric[replica.EdgeInfo]{prometheus.NewDesc(name, help, []string{"server", "peer"}, constant), prometheus.CounterValue,
		func(e replica.EdgeInfo) float64 { return float64(value(e)) }}
}

func outcome(is string) prometheus.Labels { return prometheus.Labels{"outcome": is} }

func result(is string) prometheus.Labels { return prometheus.Labels{"result": is} }

func number(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

var (
	latencyDesc = prometheus.NewDesc("herd_reply_duration_seconds",
		"Time from reading a command to writing its reply. Commands are iamat, whatsat and invalid.", []string{"server", "command"}, nil)
	eventsDesc = prometheus.NewDesc("herd_events_total",
		"Events, by the kinds of herd.event.<server>.<kind>.", []string{"server", "kind"}, nil)
	refusalsDesc = prometheus.NewDesc("herd_client_refusals_total",
		"Connections and reports of clients that were refused, and clients that were disconnected, by the limit that was the reason.", []string{"server", "reason"}, nil)
	nearDesc = prometheus.NewDesc("herd_near_requests_total",
		"Requests for who is near, by result: answered, malformed, unknown client, busy, or unavailable because clients moved too fast.", []string{"server", "result"}, nil)
	nearTookDesc = prometheus.NewDesc("herd_near_lock_duration_seconds",
		"Times that the map was locked for requests of who is near, by stage: absorb puts clients that have moved into the index, search searches it.", []string{"server", "stage"}, nil)
)

const (
	reportsHelp  = "Reports of clients by outcome: news, duplicate, stale, or refused because the map is full."
	receivedHelp = "Records received over the edge, by the outcome of merging them."
	repairsHelp  = "Comparisons of maps with the neighbour by result: done, or abandoned and to be tried again."
	broughtHelp  = "Records received by comparisons, by whether they were news."
)

var serverMetrics = []metric[node.Stats]{
	serverGauge("herd_ready", "Whether the server is ready, as in /readyz.", func(s node.Stats) float64 { return number(s.Ready) }),
	serverGauge("herd_bus_connected", "Whether the server is connected to NATS.", func(s node.Stats) float64 { return number(s.Connected) }),
	serverGauge("herd_records", "Clients in the map.", func(s node.Stats) float64 { return float64(s.Records) }),
	serverGauge("herd_map_bytes", "Memory of the records in the map.", func(s node.Stats) float64 { return float64(s.MapBytes) }),
	serverGauge("herd_map_limit_bytes", "Limit of herd_map_bytes, HERD_MAX_MAP_BYTES; 0 if there is none.", func(s node.Stats) float64 { return float64(s.MapLimit) }),
	serverGauge("herd_map_full", "Whether the map has refused records, and takes no new clients.", func(s node.Stats) float64 { return number(s.Full) }),
	serverCounter("herd_expired_records_total", "Records that have expired, HERD_KEEP after their receipt; tombstones, too.", nil, func(s node.Stats) uint64 { return s.Expiry.Expired }),
	serverGauge("herd_expired_records", "Of them, those that are still in the map. They leave it two minutes after the last of their minute has expired.", func(s node.Stats) float64 { return float64(s.Expiry.Waiting) }),
	serverGauge("herd_expiry_floor_timestamp_seconds", "Records whose receipt is before this time have left the map, and are not taken; 0 before the first.", func(s node.Stats) float64 { return float64(s.Expiry.Floor) }),
	serverGauge("herd_expiry_paused", "Whether no record expires although HERD_KEEP is set, because the clock may be wrong; the log says why.", func(s node.Stats) float64 { return number(s.Expiry.Paused != "") }),
	serverGauge("herd_client_connections", "Open connections of clients.", func(s node.Stats) float64 { return float64(s.Clients) }),
	serverGauge("herd_client_connections_limit", "Most connections of clients: HERD_MAX_CONNS, or fewer if the limit of open files does not allow them. Then further clients wait.", func(s node.Stats) float64 { return float64(s.ClientsLimit) }),
	serverCounter("herd_client_connections_accepted_total", "Connections of clients that were accepted.", nil, func(s node.Stats) uint64 { return s.Accepted }),
	serverCounter("herd_client_connections_refused_total", "Connections of clients that were refused because too many are open.", nil, func(s node.Stats) uint64 { return s.Refused }),
	serverCounter("herd_panics_total", "Panics: each closed a client's connection or dropped a neighbour's message.", nil, func(s node.Stats) uint64 { return s.Panics }),
	serverCounter("herd_reports_total", reportsHelp, outcome("news"), func(s node.Stats) uint64 { return s.Reports.News }),
	serverCounter("herd_reports_total", reportsHelp, outcome("duplicate"), func(s node.Stats) uint64 { return s.Reports.Duplicates }),
	serverCounter("herd_reports_total", reportsHelp, outcome("stale"), func(s node.Stats) uint64 { return s.Reports.Stale }),
	serverCounter("herd_reports_total", reportsHelp, outcome("refused"), func(s node.Stats) uint64 { return s.Reports.Refused }),
	serverCounter("herd_requests_refused_total", "Requests of tools over the bus that were refused because there were too many.", nil, func(s node.Stats) uint64 { return s.RequestsRefused }),
	serverGauge("herd_streams", "Streams to followers (herd follow, herd dump).", func(s node.Stats) float64 { return float64(s.Streams.Open) }),
	serverGauge("herd_streams_blocked", "Of them, those whose follower has not confirmed a megabyte: it gets no more until it does.", func(s node.Stats) float64 { return float64(s.Streams.Blocked) }),
	serverCounter("herd_streams_opened_total", "Streams that were opened.", nil, func(s node.Stats) uint64 { return s.Streams.Opened }),
	serverCounter("herd_streams_refused_total", "Streams that were refused: malformed requests, or too many streams.", nil, func(s node.Stats) uint64 { return s.Streams.Refused }),
	serverCounter("herd_stream_frames_total", "Frames sent to followers.", nil, func(s node.Stats) uint64 { return s.Streams.Frames }),
	serverCounter("herd_stream_records_total", "Records in these frames.", nil, func(s node.Stats) uint64 { return s.Streams.Records }),
	serverCounter("herd_stream_bytes_total", "Bytes of these frames.", nil, func(s node.Stats) uint64 { return s.Streams.Bytes }),
	serverCounter("herd_stream_unsendable_records_total", "Records that were left out of a stream because they are larger than NATS's max_payload.", nil, func(s node.Stats) uint64 { return s.Streams.TooLarge }),
	serverGauge("herd_near_index_records", "Clients in the index of who is near; 0 while there is none.", func(s node.Stats) float64 { return float64(s.Near.Records) }),
	serverGauge("herd_near_index_bytes", "Memory of that index.", func(s node.Stats) float64 { return float64(s.Near.Bytes) }),
	serverGauge("herd_near_index_lag_records", "Clients that the next request puts into that index, because they are new or have moved.", func(s node.Stats) float64 { return float64(s.Near.Waiting) }),
	serverCounter("herd_unsendable_records_total", "Records that were not sent over an edge because they are larger than NATS's max_payload.", nil, func(s node.Stats) uint64 { return s.Unsendable }),
	serverCounter("herd_traffic_log_lines_dropped_total", "Lines of the traffic log that were lost because the disk did not take them.", nil, func(s node.Stats) uint64 { return s.TrafficLost }),
	serverGauge("herd_journal_lag_records", "Records that are not in the journal yet.", func(s node.Stats) float64 { return float64(s.JournalRecords) }),
	serverGauge("herd_journal_lag_seconds", "How long the oldest of them has waited, at most.", func(s node.Stats) float64 { return s.JournalAge.Seconds() }),
	serverGauge("herd_journal_failing", "Whether the last append to the journal failed.", func(s node.Stats) float64 { return number(s.JournalFails) }),
}

var edgeMetrics = []metric[replica.EdgeInfo]{
	edgeGauge("herd_edge_up", "Whether the neighbour is up.", func(e replica.EdgeInfo) float64 { return number(e.Up) }),
	edgeGauge("herd_edge_in_step", "Whether the server is in step with the neighbour.", func(e replica.EdgeInfo) float64 { return number(e.InStep) }),
	edgeGauge("herd_edge_repairing", "Whether a comparison with the neighbour runs.", func(e replica.EdgeInfo) float64 { return number(e.Comparing) }),
	edgeGauge("herd_edge_beat_age_seconds", "Time since the neighbour's last heartbeat.", heartbeatAge),
	edgeGauge("herd_edge_clock_skew_seconds", "How far the neighbour's clock is ahead.", skew),
	edgeGauge("herd_edge_outbox_records", "Records queued for this neighbour, without those held back because another neighbour should already have sent them.",
		func(e replica.EdgeInfo) float64 { return float64(e.Queued) }),
	edgeCounter("herd_edge_received_records_total", receivedHelp, outcome("news"), func(e replica.EdgeInfo) uint64 { return e.News }),
	edgeCounter("herd_edge_received_records_total", receivedHelp, outcome("duplicate"), func(e replica.EdgeInfo) uint64 { return e.Duplicates }),
	edgeCounter("herd_edge_received_records_total", receivedHelp, outcome("stale"), func(e replica.EdgeInfo) uint64 { return e.Stale }),
	edgeCounter("herd_edge_received_records_total", receivedHelp, outcome("refused"), func(e replica.EdgeInfo) uint64 { return e.NoRoom }),
	edgeGauge("herd_edge_kept_records", "Records of new clients that are not sent because the neighbour's map is full.", func(e replica.EdgeInfo) float64 { return float64(e.Deferred) }),
	edgeGauge("herd_edge_quarantined", "Whether the neighbour is ignored because it broke the protocol.", func(e replica.EdgeInfo) float64 { return number(e.Quarantined) }),
	edgeCounter("herd_edge_offences_total", "Messages of the neighbour that broke the protocol.", nil, func(e replica.EdgeInfo) uint64 { return e.Offences }),
	edgeCounter("herd_edge_sent_records_total", "Records sent.", nil, func(e replica.EdgeInfo) uint64 { return e.Out }),
	edgeCounter("herd_edge_received_bytes_total", "Bytes of received messages of records.", nil, func(e replica.EdgeInfo) uint64 { return e.BytesIn }),
	edgeCounter("herd_edge_sent_bytes_total", "Bytes of sent messages of records.", nil, func(e replica.EdgeInfo) uint64 { return e.BytesOut }),
	edgeCounter("herd_edge_received_messages_total", "Received messages of records.", nil, func(e replica.EdgeInfo) uint64 { return e.MessagesIn }),
	edgeCounter("herd_edge_sent_messages_total", "Sent messages of records.", nil, func(e replica.EdgeInfo) uint64 { return e.MessagesOut }),
	edgeCounter("herd_edge_lost_messages_total", "Messages of the neighbour that were lost.", nil, func(e replica.EdgeInfo) uint64 { return e.Lost }),
	edgeCounter("herd_edge_bad_lines_total", "Malformed lines received.", nil, func(e replica.EdgeInfo) uint64 { return e.Malformed }),
	edgeCounter("herd_edge_repairs_total", repairsHelp, result("done"), func(e replica.EdgeInfo) uint64 { return e.Repairs }),
	edgeCounter("herd_edge_repairs_total", repairsHelp, result("abandoned"), func(e replica.EdgeInfo) uint64 { return e.Abandoned }),
	edgeCounter("herd_edge_repair_records_total", broughtHelp, outcome("news"), func(e replica.EdgeInfo) uint64 { return e.RepairNews }),
	edgeCounter("herd_edge_repair_records_total", broughtHelp, outcome("known"), func(e replica.EdgeInfo) uint64 { return e.RepairLines - e.RepairNews }),
	edgeCounter("herd_edge_repair_bytes_total", "Bytes of replies to our comparisons.", nil, func(e replica.EdgeInfo) uint64 { return e.RepairBytes }),
}

// heartbeatAge is NaN before the first heartbeat.
func heartbeatAge(e replica.EdgeInfo) float64 {
	if e.HeartbeatAge < 0 {
		return math.NaN()
	}
	return e.HeartbeatAge.Seconds()
}

// skew is NaN where it is unknown, or stale because the neighbour is down.
func skew(e replica.EdgeInfo) float64 {
	if !e.SkewKnown || !e.Up {
		return math.NaN()
	}
	return e.Skew.Seconds()
}
