package main

import (
	"encoding/json"
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"
)

// TestFollow: what is known is printed, and then each change, as an operator without a key sees it.
func TestFollow(t *testing.T) {
	t.Parallel()
	h := startUp(t, "A-B,B-C")
	env := []string{"HERD_TOPOLOGY=A-B,B-C", "HERD_NATS_URL=" + h.nats}
	a := dial(t, h.addresses[0])
	first := a.ask("IAMAT kiwi +1.5-2 5")
	awaitAgreement(t, "kiwi", first, h.addresses...)
	all := start(t, env, "follow", "--interval", "10ms")
	one := start(t, env, "follow", "emu", "--server", "C", "--format", "json")
	near := start(t, env, "follow", "--near", "-34+151", "--radius", "10", "--interval=10ms")
	all.stdout.await(t, regexp.QuoteMeta(first))
	second := a.ask("IAMAT emu -34.01+151 6")
	all.stdout.await(t, regexp.QuoteMeta(second))
	near.stdout.await(t, "(?m)^enter "+regexp.QuoteMeta(second))
	var change struct {
		Client, Location, Time, Server, Record string
		Lat, Lon                               float64
	}
	if line := one.stdout.await(t, `(?m)^(\{.*\})$`)[1]; json.Unmarshal([]byte(line), &change) != nil || change.Client != "emu" || change.Record != second ||
		change.Lat != -34.01 || change.Lon != 151 || change.Location != "-34.01+151" || change.Time != "6" || change.Server != "A" {
		t.Errorf("json of %q = %s", second, line)
	}
	third := a.ask("IAMAT emu -33+151 7")
	near.stdout.await(t, "(?m)^leave "+regexp.QuoteMeta(third))
	for name, p := range map[string]*program{"all": all, "one": one, "near": near} {
		p.signal(os.Interrupt)
		if status := p.status(); status != exitOK || p.stderr.String() != "" {
			t.Errorf("follow of %s: status %d, stderr %q", name, status, p.stderr.String())
		}
	}
	if strings.Contains(near.stdout.String(), "kiwi") {
		t.Errorf("a client outside is mentioned: %q", near.stdout.String())
	}
}

// TestFollowNotUTF8: clients whose names are not UTF-8 can be followed by name and by prefix.
func TestFollowNotUTF8(t *testing.T) {
	t.Parallel()
	h := startUp(t, "Solo")
	env := []string{"HERD_TOPOLOGY=Solo", "HERD_NATS_URL=" + h.nats}
	named := start(t, env, "follow", "emu", "kiwi\xff", "--interval=10ms")
	prefixed := start(t, env, "follow", "--prefix=kiwi\xff", "--interval=10ms")
	c := dial(t, h.addresses[0])
	other := c.ask("IAMAT kiwi\xfe +1+1 5")
	reply := c.ask("IAMAT kiwi\xff +1+1 5")
	for name, p := range map[string]*program{"by name": named, "by prefix": prefixed} {
		p.stdout.await(t, `kiwi\S \+1\+1 5\n`)
		p.signal(os.Interrupt)
		if status := p.status(); status != exitOK || p.stdout.String() != reply+"\n" {
			t.Errorf("follow %s: status %d, %q, want %q and not %q", name, status, p.stdout.String(), reply, other)
		}
	}
}

// TestFollowGeoJSON: the output is a sequence of features.
func TestFollowGeoJSON(t *testing.T) {
	t.Parallel()
	h := startUp(t, "Solo")
	dial(t, h.addresses[0]).ask("IAMAT kiwi +1.5-2 5")
	p := start(t, []string{"HERD_TOPOLOGY=Solo", "HERD_NATS_URL=" + h.nats}, "follow", "--format", "geojson", "--prefix", "ki")
	line := p.stdout.await(t, "(?m)^\x1e(.*)$")[1]
	var f struct {
		Type     string
		Geometry struct {
			Type        string
			Coordinates []float64
		}
		Properties struct{ Client string }
	}
	if err := json.Unmarshal([]byte(line), &f); err != nil || f.Type != "Feature" || f.Geometry.Type != "Point" || fmt.Sprint(f.Geometry.Coordinates) != "[-2 1.5]" || f.Properties.Client != "kiwi" {
		t.Errorf("feature = %s (%v)", line, err)
	}
}

// TestFollowErrors: a wrong command line, and a herd that is not there.
func TestFollowErrors(t *testing.T) {
	t.Parallel()
	for want, args := range map[string][]string{
		"--near and --radius belong together": {"--near", "+1+1"},
		"is not a location":                   {"--near", "here", "--radius", "1"},
		"is not a number of kilometres":       {"--near", "+1+1", "--radius", "far"},
		"interval":                            {"--interval", "1ms"},
		"Nobody":                              {"--server", "Nobody"},
		"is not a client's name":              {"a b"},
		"--near":                              {"--radius", "1", "--near"},
	} {
		p := start(t, nil, append([]string{"follow"}, args...)...)
		if status := p.status(); status != exitUsage || !strings.Contains(p.stderr.String(), want) {
			t.Errorf("follow %q: status %d, stderr %q, want %q", args, status, p.stderr.String(), want)
		}
	}
	h := startUp(t, "A-B")
	p := start(t, []string{"HERD_TOPOLOGY=C-D", "HERD_NATS_URL=" + h.nats}, "follow")
	if status := p.status(); status != exitFailure || !strings.Contains(p.stderr.String(), "is HERD_TOPOLOGY the herd's?") {
		t.Errorf("follow of a herd that is not there: status %d, stderr %q", status, p.stderr.String())
	}
}
