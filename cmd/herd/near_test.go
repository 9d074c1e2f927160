package main

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func runNear(t *testing.T, env []string, args ...string) (status int, stdout, stderr string) {
	t.Helper()
	p := start(t, env, append([]string{"near"}, args...)...)
	status = p.status()
	return status, p.stdout.String(), p.stderr.String()
}

// TestNear: a herd answers who is near a location or a client, as lines, JSON and GeoJSON.
func TestNear(t *testing.T) {
	t.Parallel()
	h := startUp(t, "A-B,B-C")
	env := []string{"HERD_TOPOLOGY=A-B,B-C", "HERD_NATS_URL=" + h.nats}
	nasty := "a\x1b\xff.*.>"
	records := map[string]string{}
	for i, report := range []string{"kiwi +0+0 5", "emu +0-0.5 5.25", nasty + " -0.25+180 5", "+7+7 -33.5+151 5", "twin +0+0 5"} {
		client := strings.Fields(report)[0]
		records[client] = dial(t, h.addresses[i%3]).ask("IAMAT " + report)
		awaitAgreement(t, client, records[client], h.addresses...)
	}
	line := func(km, client string) string { return km + " " + records[client] + "\n" }
	for _, tt := range []struct {
		args []string
		want string
	}{
		{[]string{"kiwi", "0"}, line("0.000", "kiwi") + line("0.000", "twin")},
		{[]string{"twin", "60"}, line("0.000", "kiwi") + line("0.000", "twin") + line("55.598", "emu")},
		{[]string{"kiwi", "60", "--limit", "1"}, line("0.000", "kiwi")},
		{[]string{"emu", "20040", "--limit=2"}, line("0.000", "emu") + line("55.598", "kiwi")},
		{[]string{"-0-0.4", "12.5"}, line("11.120", "emu")},
		{[]string{"--limit", "1", "-33.5+151", "0"}, line("0.000", "+7+7")},
		{[]string{"-0.25-179.75", "100"}, line("27.799", nasty)},
		{[]string{"+7+7", "100"}, ""}, // a location, and no client
		{[]string{"+89-179", "1"}, ""},
	} {
		if status, stdout, stderr := runNear(t, env, tt.args...); status != exitOK || stderr != "" || stdout != tt.want {
			t.Errorf("near %q: exit status %d, %s\n%s\nwant\n%s", tt.args, status, stderr, stdout, tt.want)
		}
	}

	status, stdout, _ := runNear(t, env, "-0.25-179.75", "100", "--json")
	var list []map[string]any
	if err := json.Unmarshal([]byte(stdout), &list); err != nil || status != exitOK {
		t.Fatalf("exit status %d, %v: %s", status, err, stdout)
	}
	want := map[string]any{"km": 27.799, "client_base64": "YRv/LiouPg==", "location": "-0.25+180", "lat": -.25, "lon": 180., "time": "5", "server": "C"}
	if len(list) != 1 || list[0]["record_base64"] == nil || list[0]["record"] != nil {
		t.Fatalf("%s", stdout)
	}
	delete(list[0], "record_base64")
	if d := cmp.Diff(want, list[0]); d != "" {
		t.Errorf("--json (-want +got):\n%s", d)
	}
	if _, stdout, _ = runNear(t, env, "emu", "1", "--json"); !strings.Contains(stdout, `"record": "`+records["emu"]+`"`) || !strings.Contains(stdout, `"client": "emu"`) {
		t.Errorf("--json: %s", stdout)
	}
	if status, stdout, _ := runNear(t, env, "+89-179", "1", "--json"); status != exitOK || stdout != "[]\n" {
		t.Errorf("nobody as JSON: exit status %d, %s", status, stdout)
	}
	_, stdout, _ = runNear(t, env, "kiwi", "60", "--geojson")
	var collection struct {
		Type     string
		Features []struct {
			Type     string
			Geometry struct {
				Type        string
				Coordinates []float64
			}
			Properties struct {
				Client string
				KM     float64
			}
		}
	}
	if err := json.Unmarshal([]byte(stdout), &collection); err != nil || collection.Type != "FeatureCollection" || len(collection.Features) != 3 {
		t.Fatalf("%v: %s", err, stdout)
	}
	if f := collection.Features[2]; f.Type != "Feature" || f.Geometry.Type != "Point" || !slices.Equal(f.Geometry.Coordinates, []float64{-.5, 0}) || f.Properties.Client != "emu" || f.Properties.KM != 55.598 {
		t.Errorf("--geojson: %+v", f)
	}

	for _, tt := range []struct {
		args   []string
		status int
		want   string
	}{
		{[]string{"nobody", "1"}, exitFailure, `near: unknown: no client "nobody"` + "\n"},
		{[]string{"34.07,-118.45", "1"}, exitFailure, `near: unknown: no client "34.07,-118.45" (a location looks like +34.07-118.45)`},
		{[]string{"kiwi", "20041"}, exitUsage, `"20041" is not a number of kilometres from 0 to 20040`},
		{[]string{"kiwi", "1e3"}, exitUsage, `"1e3" is not a number of kilometres`},
		{[]string{"kiwi", ""}, exitUsage, `"" is not a number of kilometres`},
		{[]string{"kiwi", "1", "--limit", "0"}, exitUsage, `"0" is not a number of clients from 1 to 1000`},
		{[]string{"ki wi", "1"}, exitUsage, `"ki wi" is neither a location`},
		{[]string{"", "1"}, exitUsage, `"" is neither a location`},
		{[]string{"kiwi"}, exitUsage, "km"},
		{[]string{"-x", "1"}, exitUsage, "unknown flag -x"},
		{[]string{"kiwi", "1", "--json", "--geojson"}, exitUsage, "--json"},
	} {
		if status, stdout, stderr := runNear(t, env, tt.args...); status != tt.status || stdout != "" || !strings.Contains(stderr, tt.want) {
			t.Errorf("near %q: exit status %d, %s%s, want %q", tt.args, status, stdout, stderr, tt.want)
		}
	}
	all := scrape(t, h.ops)
	if got := sum(all, "herd_near_requests_total", "result", "unknown"); got != 2 {
		t.Errorf("%v requests for unknown clients are counted, want 2", got)
	}
	if got := sum(all, "herd_near_index_records"); int(got)%5 != 0 || got == 0 {
		t.Errorf("the indexes have %v records, want 5 each", got)
	}
	h.stop()
}

// TestNearLarge: what did not fit into the answer is said. Without a broker there is an error.
func TestNearLarge(t *testing.T) {
	t.Parallel()
	h := startUp(t, "Solo", "HERD_MAX_LINE=262144")
	env := []string{"HERD_TOPOLOGY=Solo", "HERD_NATS_URL=" + h.nats}
	c := dial(t, h.addresses[0])
	const clients = 9 // of which the broker's message of 1 MB has room for 5
	for i := range clients {
		c.ask(fmt.Sprintf("IAMAT %d%s +0+%d 5", i, strings.Repeat("x", 200_000), i))
	}
	status, stdout, stderr := runNear(t, env, "+0+0", "20000")
	if status != exitOK || strings.Count(stdout, "\n") != 5 || !strings.HasPrefix(stdout, "0.000 AT Solo") || stderr != "near: 4 more clients are left out: their records do not fit into one message\n" {
		t.Errorf("exit status %d, %d lines, %s", status, strings.Count(stdout, "\n"), stderr)
	}
	h.stop()
	if status, stdout, stderr := runNear(t, env, "+0+0", "20000"); status != exitFailure || stdout != "" || !strings.Contains(stderr, "is the herd running") {
		t.Errorf("without a broker: exit status %d, %s%s", status, stdout, stderr)
	}
}
