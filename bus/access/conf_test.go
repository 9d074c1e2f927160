package access_test

import (
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats-server/v2/server"

	"herd/bus/access"
)

// TestConf: the text does not depend on the order of edges, and a new edge changes the
// lines of its two servers only.
func TestConf(t *testing.T) {
	t.Parallel()
	text := func(spec string) string {
		rules := rules(t, spec)
		public := map[string]string{}
		for _, u := range rules.Users {
			public[u.Name] = "U" + u.Name
		}
		return rules.Conf(access.Broker{Listen: "127.0.0.1:4222"}, public)
	}
	if diff := cmp.Diff(text("A-B,B-C,C-D"), text("D-C,B-C,A-B")); diff != "" {
		t.Errorf("the text depends on the order of edges (-one +other):\n%s", diff)
	}
	before, after := text("A-B,B-C,C-D"), text("A-B,B-C,C-D,D-A")
	for line := range strings.Lines(after) {
		if !strings.Contains(before, line) && !strings.Contains(line, "A") && !strings.Contains(line, "D") {
			t.Errorf("an edge between A and D changed the line %q", line)
		}
	}
}

// TestLimits: nats-server understands the settings that are not permissions.
func TestLimits(t *testing.T) {
	t.Parallel()
	text := rules(t, "A-B").Conf(access.Broker{Listen: "127.0.0.1:0", HTTP: "127.0.0.1:0"}, map[string]string{})
	var got server.Options
	if err := got.ProcessConfigString(regexp.MustCompile(`(?s)accounts \{.*`).ReplaceAllString(text, "")); err != nil {
		t.Fatal(err)
	}
	want := server.Options{
		Host: "127.0.0.1", Port: server.RANDOM_PORT, HTTPHost: "127.0.0.1", HTTPPort: server.RANDOM_PORT,
		MaxPayload: 1 << 20, MaxPending: 64 << 20, WriteDeadline: 10 * time.Second, NoFastProducerStall: true,
	}
	for what, pair := range map[string][2]any{
		"host": {got.Host, want.Host}, "port": {got.Port, want.Port}, "HTTP host": {got.HTTPHost, want.HTTPHost}, "HTTP port": {got.HTTPPort, want.HTTPPort},
		"payload": {got.MaxPayload, want.MaxPayload}, "pending": {got.MaxPending, want.MaxPending}, "deadline": {got.WriteDeadline, want.WriteDeadline},
		"no stall": {got.NoFastProducerStall, want.NoFastProducerStall}, "JetStream": {got.JetStream, false},
	} {
		if pair[0] != pair[1] {
			t.Errorf("%s %v, want %v", what, pair[0], pair[1])
		}
	}
}

func TestCheckNames(t *testing.T) {
	t.Parallel()
	for name, refused := range map[string]bool{"B": false, "ops": true, "Sys": true, "GUEST": true, "opsy": false, "guests": false} {
		err := access.CheckNames([]string{"A", name})
		if (err != nil) != refused || refused && !strings.HasPrefix(err.Error(), "a server cannot be named "+name+": ops, guest and sys are ") {
			t.Errorf("CheckNames with %s: %v, want an error: %v", name, err, refused)
		}
	}
}
