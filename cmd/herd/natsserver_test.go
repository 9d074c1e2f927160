package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"testing"

	natsserver "github.com/nats-io/nats-server/v2/server"

	"herd/cmd/internal/freeport"
)

// The tests run an unmodified nats-server of the version in go.mod as a process.

// asBroker is an environment variable: with it, the test binary is nats-server.
const asBroker = "TEST_AS_BROKER"

// natsMain is the main function of nats-server.
func natsMain() {
	opts, err := natsserver.ConfigureOptions(flag.NewFlagSet("nats-server", flag.ExitOnError), os.Args[1:], func() {}, func() {}, func() {})
	if err != nil {
		natsserver.PrintAndDie(err.Error())
	}
	s, err := natsserver.NewServer(opts)
	if err != nil {
		natsserver.PrintAndDie(err.Error())
	}
	s.ConfigureLogger()
	if err := natsserver.Run(s); err != nil {
		natsserver.PrintAndDie(err.Error())
	}
	s.WaitForShutdown()
	os.Exit(0)
}

// natsServer is a running nats-server.
type natsServer struct {
	*program
	url, monitor string
}

// startNATS runs nats-server with the configuration in a file.
func startNATS(t *testing.T, conf string) natsServer {
	t.Helper()
	n := natsServer{program: startAs(t, asBroker, nil, "-c", conf)}
	n.monitor = "http://" + n.stderr.await(t, `http monitor on (\S+)`)[1]
	n.url = "nats://" + n.stderr.await(t, `Listening for client connections on (\S+)`)[1]
	n.stderr.await(t, "Server is ready")
	return n
}

// reload makes the server read its configuration again, as an operator does.
func (n natsServer) reload() {
	n.t.Helper()
	before := len(n.stderr.String())
	if got := startAs(n.t, asBroker, nil, "--signal", fmt.Sprintf("reload=%d", n.cmd.Process.Pid)).status(); got != 0 {
		n.t.Fatalf("nats-server --signal reload: exit status %d", got)
	}
	eventually(n.t, func() error {
		return contains(n.stderr.String()[before:], "Reloaded server configuration")
	})
}

// connections returns the server's ids of its connections, by their names. A connection
// that was made again has another id.
func (n natsServer) connections() map[string]int {
	n.t.Helper()
	var listing struct {
		Connections []struct {
			CID  int
			Name string
		}
	}
	if err := json.Unmarshal([]byte(n.connz("limit=1000")), &listing); err != nil {
		n.t.Fatal(err)
	}
	numbers := map[string]int{}
	for _, c := range listing.Connections {
		numbers[c.Name] = c.CID
	}
	return numbers
}

// subscriptions returns the monitor's list of connections with their subscriptions.
func (n natsServer) subscriptions() string { return n.connz("subs=true&limit=1000") }

func (n natsServer) connz(query string) string {
	n.t.Helper()
	reply, err := http.Get(n.monitor + "/connz?" + query)
	if err != nil {
		n.t.Fatal(err)
	}
	defer reply.Body.Close()
	body, err := io.ReadAll(reply.Body)
	if err != nil {
		n.t.Fatal(err)
	}
	return string(body)
}

// freeAddress returns an address that is not in use, for settings where port 0 does not
// work: a configuration may name the port in two places.
func freeAddress(t *testing.T) string {
	t.Helper()
	return freeAddresses(t, 1)
}

// freeAddresses returns the first of n consecutive addresses that are not in use.
func freeAddresses(t *testing.T, n int) string {
	t.Helper()
	addresses, err := freeport.Addresses(n)
	if err != nil {
		t.Fatal(err)
	}
	return addresses[0]
}
