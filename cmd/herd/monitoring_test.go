package main

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	"go.yaml.in/yaml/v3"

	"herd/bus/topology"
)

// The metrics of a herd, and the Grafana dashboard and Prometheus rules in compose/ that
// use them.

// series is one line of /metrics.
type series struct {
	labels map[string]string
	value  float64
}

// scrape reads /metrics and returns the series of each metric, by name.
func scrape(t *testing.T, ops string) map[string][]series {
	t.Helper()
	reply, err := http.Get(ops + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer reply.Body.Close()
	text, err := io.ReadAll(reply.Body)
	if err != nil || reply.StatusCode != http.StatusOK {
		t.Fatalf("/metrics: %d, %v\n%s", reply.StatusCode, err, text)
	}
	line := regexp.MustCompile(`^([a-z_0-9]+)(\{.*\})? (\S+)$`)
	label := regexp.MustCompile(`([a-z_]+)="([^"]*)"`)
	all := map[string][]series{}
	for l := range strings.Lines(string(text)) {
		if strings.HasPrefix(l, "#") {
			continue
		}
		m := line.FindStringSubmatch(strings.TrimSuffix(l, "\n"))
		if m == nil {
			t.Fatalf("/metrics has a line %q", l)
		}
		s := series{labels: map[string]string{}}
		for _, pair := range label.FindAllStringSubmatch(m[2], -1) {
			s.labels[pair[1]] = pair[2]
		}
		if s.value, err = strconv.ParseFloat(m[3], 64); err != nil {
			t.Fatal(err)
		}
		all[m[1]] = append(all[m[1]], s)
	}
	return all
}

// sum adds the series of a metric that have labels, given as name, value, ….
func sum(all map[string][]series, name string, labels ...string) (total float64) {
	for _, s := range all[name] {
		match := true
		for i := 0; i < len(labels); i += 2 {
			match = match && s.labels[labels[i]] == labels[i+1]
		}
		if match {
			total += s.value
		}
	}
	return total
}

// TestMetrics: values after a few commands, names, and no data of clients in labels.
func TestMetrics(t *testing.T) {
	t.Parallel()
	h := startUp(t, "A-B,B-C", "HERD_JOURNAL=ack", "HERD_DATA_DIR="+t.TempDir(), "HERD_MAX_CLIENTS=2")
	c := dial(t, h.addresses[0])
	c.send("IAMAT kiwi +1+1 5\nIAMAT emu +2+2 5\nIAMAT kiwi +1+1 4\nIAMAT late +3+3 5\nhuh\n")
	var record string
	for range 5 {
		if line := c.line(); strings.HasPrefix(line, "AT") && strings.HasSuffix(line, " kiwi +1+1 5") {
			record = line
		}
	}
	c.send("WHATSAT kiwi 10 1\n")
	for c.line() != "" {
	}
	awaitAgreement(t, "kiwi", record, h.addresses...)

	type want struct {
		name   string
		labels []string
		value  float64
	}
	wants := []want{
		{"herd_records", []string{"server", "A"}, 2},
		{"herd_records", []string{"server", "C"}, 2},
		{"herd_ready", nil, 3},
		{"herd_bus_connected", nil, 3},
		{"herd_client_connections", []string{"server", "A"}, 1},
		{"herd_reports_total", []string{"server", "A", "outcome", "news"}, 2},
		{"herd_reports_total", []string{"server", "A", "outcome", "stale"}, 1},
		{"herd_reports_total", []string{"server", "A", "outcome", "refused"}, 1},
		{"herd_reports_total", []string{"server", "B"}, 0},
		{"herd_reply_duration_seconds_count", []string{"server", "A", "command", "iamat"}, 4},
		{"herd_reply_duration_seconds_count", []string{"server", "A", "command", "invalid"}, 1},
		{"herd_reply_duration_seconds_bucket", []string{"server", "A", "command", "iamat", "le", "+Inf"}, 4},
		{"herd_edge_sent_records_total", []string{"server", "A", "peer", "B"}, 2},
		{"herd_edge_sent_records_total", []string{"server", "B", "peer", "A"}, 0},
		{"herd_edge_received_records_total", []string{"server", "C", "peer", "B", "outcome", "news"}, 2},
		{"herd_edge_received_records_total", []string{"server", "C", "peer", "B"}, 2},
		{"herd_edge_up", nil, 4},
		{"herd_edge_in_step", nil, 4},
		{"herd_edge_outbox_records", nil, 0},
		{"herd_edge_lost_messages_total", nil, 0},
		{"herd_events_total", []string{"kind", "start"}, 3},
		{"herd_events_total", []string{"kind", "up"}, 4},
		{"herd_journal_lag_records", nil, 0},
		{"herd_journal_failing", nil, 0},
		{"herd_places_call_duration_seconds_count", []string{"source", "gazetteer"}, 1},
		{"herd_places_errors_total", nil, 0},
		{"herd_build_info", nil, 1},
	}
	var all map[string][]series
	eventually(t, func() error {
		all = scrape(t, h.ops)
		for _, w := range wants {
			if got := sum(all, w.name, w.labels...); all[w.name] == nil || got != w.value {
				return fmt.Errorf("%s%v is %v (%d series), want %v", w.name, w.labels, got, len(all[w.name]), w.value)
			}
		}
		return nil
	})
	reply, err := http.Get(h.ops + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer reply.Body.Close()
	problems, err := promlint.New(reply.Body).Lint()
	if err != nil {
		t.Error(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
	for _, what := range []string{"bytes", "messages"} {
		sent, got := sum(all, "herd_edge_sent_"+what+"_total"), sum(all, "herd_edge_received_"+what+"_total")
		if sent != got || sent == 0 {
			t.Errorf("%v %s were sent and %v received", sent, what, got)
		}
	}
	for _, name := range []string{"herd_edge_beat_age_seconds", "go_goroutines", "go_memstats_heap_inuse_bytes", "process_resident_memory_bytes"} {
		if sum(all, name) <= 0 {
			t.Errorf("%s is %v", name, sum(all, name))
		}
	}
	for name, is := range all {
		for _, s := range is {
			for label, value := range s.labels {
				if strings.Contains(value, "kiwi") || strings.Contains(value, "127.0.0.1") {
					t.Errorf("%s{%s=%q} identifies a client", name, label, value)
				}
			}
		}
	}
	h.stop()
}

// ofPrometheus are the labels that Prometheus adds to every series.
var ofPrometheus = []string{"job", "instance"}

// parseExpression returns the metrics of a PromQL expression, each with the labels in its
// braces, and the labels of by and without.
func parseExpression(expression string) (metrics map[string][]string, grouped []string) {
	metrics = map[string][]string{}
	expression = regexp.MustCompile(`"[^"]*"`).ReplaceAllString(expression, `""`)
	groups := regexp.MustCompile(`\b(by|without|on|ignoring|group_left|group_right) *\(([^)]*)\)`)
	for _, m := range groups.FindAllStringSubmatch(expression, -1) {
		for label := range strings.SplitSeq(m[2], ",") {
			grouped = append(grouped, strings.TrimSpace(label))
		}
	}
	expression = groups.ReplaceAllString(expression, "")
	expression = regexp.MustCompile(`\[[^\]]*\]`).ReplaceAllString(expression, "") // ranges
	name := regexp.MustCompile(`([a-zA-Z_][a-zA-Z_0-9]*) *(\(|\{[^}]*\})?`)
	for _, m := range name.FindAllStringSubmatch(expression, -1) {
		if m[2] == "(" || slices.Contains([]string{"and", "or", "unless", "bool", "offset"}, m[1]) {
			continue
		}
		labels := metrics[m[1]]
		for _, l := range regexp.MustCompile(`([a-z_]+) *[=!]`).FindAllStringSubmatch(m[2], -1) {
			labels = append(labels, l[1])
		}
		metrics[m[1]] = labels
	}
	return metrics, grouped
}

// checkExpression reports metrics and labels that an expression uses and /metrics does
// not have. It returns the labels of its metrics.
func checkExpression(t *testing.T, where, expression string, all map[string][]series) (labels []string) {
	t.Helper()
	metrics, grouped := parseExpression(expression)
	if len(metrics) == 0 {
		t.Errorf("%s: no metric in %s", where, expression)
	}
	labels = slices.Clone(ofPrometheus)
	for name, matched := range metrics {
		has := slices.Clone(ofPrometheus)
		if name != "up" { // Prometheus's own
			if all[name] == nil {
				t.Errorf("%s: /metrics has no %s, which is in %s", where, name, expression)
				continue
			}
			has = slices.AppendSeq(has, maps.Keys(all[name][0].labels))
		}
		for _, label := range matched {
			if !slices.Contains(has, label) {
				t.Errorf("%s: %s has no label %s, which is in %s", where, name, label, expression)
			}
		}
		labels = append(labels, has...)
	}
	for _, label := range grouped {
		if !slices.Contains(labels, label) {
			t.Errorf("%s: nothing in %s has a label %s", where, expression, label)
		}
	}
	return labels
}

func compose(t *testing.T, path ...string) []byte {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(append([]string{"..", "..", "compose"}, path...)...))
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func parseYAML(t *testing.T, into any, path ...string) {
	t.Helper()
	decoder := yaml.NewDecoder(strings.NewReader(string(compose(t, path...))))
	decoder.KnownFields(true)
	if err := decoder.Decode(into); err != nil {
		t.Fatalf("%v: %v", path, err)
	}
}

// TestMonitoring: /metrics has every metric and label that the dashboard and the rules
// use.
func TestMonitoring(t *testing.T) {
	t.Parallel()
	h := startUp(t, "goloman")
	var all map[string][]series
	eventually(t, func() error { // a clock is known after three heartbeats
		all = scrape(t, h.ops)
		if all["herd_edge_clock_skew_seconds"] == nil {
			return fmt.Errorf("no clocks yet")
		}
		return nil
	})
	h.stop()

	var datasource struct {
		APIVersion  int `yaml:"apiVersion"`
		Datasources []struct {
			Name, UID, Type, Access, URL string
			IsDefault                    bool           `yaml:"isDefault"`
			JSONData                     map[string]any `yaml:"jsonData"`
		}
	}
	parseYAML(t, &datasource, "grafana", "provisioning", "datasources", "prometheus.yml")
	type source struct{ Type, UID string }
	var board struct {
		UID        string
		Templating struct {
			List []struct {
				Name       string
				Datasource source
				Query      struct{ Query string }
			}
		}
		Panels []struct {
			ID      int
			Title   string
			Type    string
			Targets []struct {
				RefID, Expr, LegendFormat string
				Datasource                source
			}
		}
	}
	if err := json.Unmarshal(compose(t, "grafana", "herd.json"), &board); err != nil {
		t.Fatal(err)
	}
	known := source{datasource.Datasources[0].Type, datasource.Datasources[0].UID}
	legend := regexp.MustCompile(`\{\{(\w+)\}\}`)
	ids := map[int]bool{}
	expressions := 0
	for _, p := range board.Panels {
		if ids[p.ID] {
			t.Errorf("panel %q: another panel has id %d", p.Title, p.ID)
		}
		ids[p.ID] = true
		for _, target := range p.Targets {
			expressions++
			labels := checkExpression(t, "panel "+p.Title, target.Expr, all)
			if p.Title == "Servers ready" && !strings.Contains(target.Expr, "up{") {
				t.Errorf("panel %q ignores processes that cannot be scraped: %s", p.Title, target.Expr)
			}
			for _, m := range legend.FindAllStringSubmatch(target.LegendFormat, -1) {
				if !slices.Contains(labels, m[1]) {
					t.Errorf("panel %q: its legend has label %s, which is not in %s", p.Title, m[1], target.Expr)
				}
			}
			if target.Datasource != known {
				t.Errorf("panel %q uses data source %v, want %v", p.Title, target.Datasource, known)
			}
		}
	}
	for _, v := range board.Templating.List {
		m := regexp.MustCompile(`^label_values\((\w+), (\w+)\)$`).FindStringSubmatch(v.Query.Query)
		if m == nil {
			t.Fatalf("variable %s: %q", v.Name, v.Query.Query)
		}
		checkExpression(t, "variable "+v.Name, m[1]+"{"+m[2]+`=""}`, all)
	}

	var rules struct {
		Groups []struct {
			Name  string
			Rules []struct {
				Alert, Expr, For    string
				Labels, Annotations map[string]string
			}
		}
	}
	parseYAML(t, &rules, "prometheus", "alerts.yml")
	mentioned := regexp.MustCompile(`\$labels\.(\w+)`)
	for _, g := range rules.Groups {
		for _, r := range g.Rules {
			expressions++
			labels := checkExpression(t, "alert "+r.Alert, r.Expr, all)
			for _, about := range []string{"summary", "description"} {
				if r.Annotations[about] == "" || r.Labels["severity"] == "" {
					t.Errorf("alert %s has no %s, or no severity", r.Alert, about)
				}
				// An event before the first scrape of a process does not increase a counter.
				if regexp.MustCompile(`kind="(denied|mismatch)"`).MatchString(r.Expr) && !strings.Contains(r.Expr, "process_start_time_seconds") {
					t.Errorf("alert %s ignores events at the start of a process", r.Alert)
				}
				for _, m := range mentioned.FindAllStringSubmatch(r.Annotations[about], -1) {
					if !slices.Contains(labels, m[1]) {
						t.Errorf("alert %s mentions label %s, which is not in %s", r.Alert, m[1], r.Expr)
					}
				}
			}
		}
	}
	if expressions < 30 {
		t.Errorf("only %d expressions were checked", expressions)
	}

	var scraping struct {
		Global        map[string]string
		RuleFiles     []string `yaml:"rule_files"`
		ScrapeConfigs []struct {
			JobName       string                       `yaml:"job_name"`
			StaticConfigs []struct{ Targets []string } `yaml:"static_configs"`
		} `yaml:"scrape_configs"`
	}
	parseYAML(t, &scraping, "prometheus", "prometheus.yml")
	goloman, err := topology.Load("goloman")
	if err != nil {
		t.Fatal(err)
	}
	var targets []string
	for _, name := range goloman.Servers() {
		targets = append(targets, fmt.Sprintf("%s:%d", strings.ToLower(name), opsPort))
	}
	if got := scraping.ScrapeConfigs[0]; got.JobName != "herd" || !slices.Equal(got.StaticConfigs[0].Targets, targets) {
		t.Errorf("Prometheus scrapes %v, want job herd of %v", got, targets)
	}
	for _, file := range scraping.RuleFiles {
		compose(t, "prometheus", file)
	}
	var providers struct {
		APIVersion int `yaml:"apiVersion"`
		Providers  []struct {
			Name, Type     string
			AllowUIUpdates bool `yaml:"allowUiUpdates"`
			Options        struct{ Path string }
		}
	}
	parseYAML(t, &providers, "grafana", "provisioning", "dashboards", "herd.yml")
}
