package natsbus

import (
	"strings"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
)

// TestForgedName: a single message that says that another process has the name ends no
// server, neither one that claims it nor one that holds it.
func TestForgedName(t *testing.T) {
	t.Parallel()
	s := startServer(t, &server.Options{})
	forger, err := nats.Connect(s.ClientURL())
	if err != nil {
		t.Fatal(err)
	}
	defer forger.Close()
	words, err := forger.SubscribeSync("herd.name.A")
	if err != nil {
		t.Fatal(err)
	}
	if err := forger.Flush(); err != nil {
		t.Fatal(err)
	}
	await := func() {
		t.Helper()
		for {
			m, err := words.NextMsg(patience)
			if err != nil {
				t.Fatalf("no word of the server: %v", err)
			}
			if strings.HasSuffix(string(m.Data), " 5") {
				return
			}
		}
	}
	forge := func(word string) {
		t.Helper()
		if err := forger.Publish("herd.name.A", []byte(word)); err != nil {
			t.Fatal(err)
		}
		await()
	}
	h := newReceiver()
	start(t, New(Config{URLs: []string{s.ClientURL()}, Prefix: "herd", Server: "A", Epoch: 5, Log: testLog(t)}), h) // fails if Run returns an error
	await()
	forge("held 1")
	expect(t, "connected", h.connected, true)
	forge("held 2")
	forge("held 3")
}
