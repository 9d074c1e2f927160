package main

import (
	"flag"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"herd/bus/bustest"
)

var clusterLoad = flag.Duration("cluster-load", time.Second, "how long TestCluster loads the herd before a broker dies, and after it is in step again")

// startCluster writes the configuration of a cluster and runs its brokers.
func startCluster(t *testing.T, spec string, args ...string) (brokers []natsServer, dir string) {
	t.Helper()
	dir = t.TempDir()
	busConfig(t, spec, dir, append(clusterArgs(t), args...)...)
	for i := range clusterSize {
		brokers = append(brokers, startNATS(t, filepath.Join(dir, clusterConf(i))))
	}
	return brokers, dir
}

// clusterArgs makes bus-config write a cluster on free ports.
func clusterArgs(t *testing.T) []string {
	t.Helper()
	return []string{"--routes", "--listen=" + freeAddresses(t, clusterSize), "--monitor=" + freeAddresses(t, clusterSize), "--cluster=" + freeAddresses(t, clusterSize)}
}

// freeAddresses is the first of so many addresses in a row where nobody listens.
func freeAddresses(t *testing.T, n int) string {
	t.Helper()
	for {
		first := freeAddress(t)
		host, port := splitPort(first)
		free := true
		for i := 1; i < n; i++ {
			ln, err := net.Listen("tcp", net.JoinHostPort(host, strconv.Itoa(port+i)))
			if free = free && err == nil; err == nil {
				ln.Close()
			}
		}
		if free {
			return first
		}
	}
}

// TestCluster: a herd whose servers are spread over a cluster of three brokers goes
// on when one of them is killed under load: the servers move over, the herd is in
// step again, and each report that was acknowledged is at every server.
//
//	go test ./cmd/herd -run TestCluster -v -args -cluster-load=10s
func TestCluster(t *testing.T) {
	t.Parallel()
	const spec = "goloman"
	brokers, dir := startCluster(t, spec)
	var urls []string
	for _, n := range brokers {
		urls = append(urls, n.url)
	}
	all := strings.Join(urls, ",")
	// Each server is told of one broker, and of the others by that.
	names := []string{"Goloman", "Hands", "Holiday", "Welsh", "Wilkes"}
	var servers []*program
	addresses := map[string]string{}
	for i, name := range names {
		p, address := serveOn(t, urls[i%len(urls)], spec, dir, name)
		servers = append(servers, p)
		addresses[name] = address
	}
	awaitInStep(t, all, spec, dir)

	load := startReporters(t, addresses)
	time.Sleep(*clusterLoad) // there is no end of the load to wait for

	const victim = 1 // the broker of Hands and Wilkes, which are neighbours
	var before []int
	for _, p := range servers {
		before = append(before, len(p.stderr.String()))
	}
	killed := time.Now()
	brokers[victim].signal(os.Kill)
	brokers[victim].status()
	var moved []string
	for i, p := range servers {
		if i%len(urls) != victim {
			continue
		}
		moved = append(moved, names[i])
		eventually(t, func() error { return contains(p.stderr.String()[before[i]:], `msg="NATS connected"`) })
	}
	over := time.Since(killed)
	awaitInStep(t, strings.Join(slices.Delete(slices.Clone(urls), victim, victim+1), ","), spec, dir)
	inStep := time.Since(killed)
	const soon = 5 * time.Second
	if inStep > soon {
		t.Errorf("the herd was in step again %v after a broker was killed, want %v at most", inStep, soon)
	}
	time.Sleep(*clusterLoad)
	lasted, reports := load.stop()
	lost, mobiles := load.lost(addresses)
	t.Logf("%v had moved over %v after their broker was killed, the herd was in step again after %v; %d reports of %d mobiles acknowledged, %.0f a second, %d lost",
		moved, over.Round(time.Millisecond), inStep.Round(time.Millisecond), reports, mobiles, float64(reports)/lasted.Seconds(), lost)
	for _, p := range servers {
		p.stop()
	}
}

// TestClusterTLS: brokers that show each other certificates, and want them of servers
// and operators.
func TestClusterTLS(t *testing.T) {
	t.Parallel()
	const spec = "A-B,B-C"
	cert, key, err := bustest.WriteCertificate(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	brokers, dir := startCluster(t, spec, "--tls-cert="+cert, "--tls-key="+key, "--tls-ca="+cert)
	with := []string{"HERD_NATS_CA=" + cert, "HERD_NATS_CERT=" + cert, "HERD_NATS_KEY=" + key}
	for i, name := range []string{"A", "B", "C"} {
		serveOn(t, brokers[i].url, spec, dir, name, with...)
	}
	awaitInStep(t, brokers[0].url, spec, dir, with...)
}

// TestRegions: two clusters, joined by gateways as bus/CLUSTER.md has it, carry one
// herd, with the rules and the keys of one directory.
func TestRegions(t *testing.T) {
	t.Parallel()
	const spec = "A-B,B-C"
	dirs := map[string]string{"eu": t.TempDir(), "us": t.TempDir()}
	gateways := map[string]string{"eu": freeAddress(t), "us": freeAddress(t)}
	urls := map[string]string{}
	for _, region := range []string{"eu", "us"} {
		dir := dirs[region]
		if region == "us" {
			if err := os.CopyFS(dir, os.DirFS(dirs["eu"])); err != nil {
				t.Fatal(err)
			}
		}
		busConfig(t, spec, dir, append(clusterArgs(t), "--name="+region)...)
		conf := fmt.Sprintf(`include "nats-1.conf"
gateway {
  name: %s
  listen: %q
  gateways: [
    { name: eu, url: "nats://%s" }
    { name: us, url: "nats://%s" }
  ]
}
`, region, gateways[region], gateways["eu"], gateways["us"])
		file := filepath.Join(dir, "region.conf")
		if err := os.WriteFile(file, []byte(conf), 0o600); err != nil {
			t.Fatal(err)
		}
		urls[region] = startNATS(t, file).url
	}
	var addresses []string
	for name, region := range map[string]string{"A": "eu", "B": "us", "C": "eu"} {
		_, address := serveOn(t, urls[region], spec, dirs[region], name)
		addresses = append(addresses, address)
	}
	for region, url := range urls {
		awaitInStep(t, url, spec, dirs[region])
	}
	record := dial(t, addresses[0]).ask("IAMAT kiwi +1+1 5")
	awaitAgreement(t, "kiwi", record, addresses...)
}

// TestCutBetweenBrokers: of two processes that took one server's name while their
// brokers were cut apart, the later ends once they are not.
func TestCutBetweenBrokers(t *testing.T) {
	t.Parallel()
	clusters := []string{freeAddress(t), freeAddress(t)}
	dir := t.TempDir()
	write := func(i int, routes string) (file string) {
		t.Helper()
		file = filepath.Join(dir, clusterConf(i))
		conf := fmt.Sprintf("server_name: n%d\nlisten: %q\nhttp: %q\ncluster { name: c, listen: %q, routes: [%s] }\n",
			i, "127.0.0.1:-1", "127.0.0.1:-1", clusters[i], routes)
		if err := os.WriteFile(file, []byte(conf), 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	var brokers []natsServer
	var servers []*program
	for i := range clusters {
		n := startNATS(t, write(i, ""))
		p := start(t, []string{"HERD_TOPOLOGY=A-B", "HERD_NATS_URL=" + n.url, "HERD_LISTEN=127.0.0.1:0", "HERD_OPS_LISTEN=off"}, "serve", "A")
		p.stderr.await(t, `msg=listening`)
		brokers, servers = append(brokers, n), append(servers, p)
	}
	write(0, fmt.Sprintf("%q", "nats://"+clusters[1]))
	brokers[0].reload()
	if got := servers[1].status(); got != exitFailure || contains(servers[1].stderr.String(), "another process has this server's name") != nil {
		t.Errorf("the later A: exit status %d", got)
	}
	servers[0].stop()
}
