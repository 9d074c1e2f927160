package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"testing"

	natsserver "github.com/nats-io/nats-server/v2/server"
)

// A stock nats-server as a process, of the version in go.mod.

// asBroker, set in its environment, makes the test binary be nats-server.
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

// reload does what an operator does to have it read its configuration again.
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

// connections is the broker's numbers of its connections, by their names: a
// connection that was made again has another number.
func (n natsServer) connections() map[string]int {
	n.t.Helper()
	reply, err := http.Get(n.monitor + "/connz?limit=1000")
	if err != nil {
		n.t.Fatal(err)
	}
	defer reply.Body.Close()
	var listing struct {
		Connections []struct {
			CID  int
			Name string
		}
	}
	if err := json.NewDecoder(reply.Body).Decode(&listing); err != nil {
		n.t.Fatal(err)
	}
	numbers := map[string]int{}
	for _, c := range listing.Connections {
		numbers[c.Name] = c.CID
	}
	return numbers
}

// freeAddress is where nobody listens: of a kind of port that can't be 0, in a file
// that names it twice.
func freeAddress(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().String()
}
