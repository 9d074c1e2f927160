package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"herd/bus/access/keydir"
	"herd/bus/bustest"
)

var clusterLoad = flag.Duration("cluster-load", 0, "additional duration of TestCluster's load, before a broker is killed and again after the herd is in step")

// startCluster writes the configuration of a cluster and runs its brokers.
func startCluster(t *testing.T, spec string, args ...string) (brokers []natsServer, dir string) {
	t.Helper()
	dir = t.TempDir()
	busConfig(t, spec, dir, append(clusterArgs(t), args...)...)
	for i := range clusterSize {
		brokers = append(brokers, startNATS(t, filepath.Join(dir, keydir.ClusterConf(i))))
	}
	return brokers, dir
}

// clusterArgs returns flags for a cluster on free ports.
func clusterArgs(t *testing.T) []string {
	t.Helper()
	return []string{"--routes", "--listen=" + freeAddresses(t, clusterSize), "--monitor=" + freeAddresses(t, clusterSize), "--cluster=" + freeAddresses(t, clusterSize)}
}

// TestCluster: a herd on a cluster of three brokers survives the loss of one of them
// under load. Its servers connect to another broker, the herd gets in step again, and
// every acknowledged report is at every server.
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
	// Each server knows the URL of one broker, which tells it the others.
	names := []string{"Goloman", "Hands", "Holiday", "Welsh", "Wilkes"}
	var servers []*program
	addresses := map[string]string{}
	for i, name := range names {
		p, address := serveOn(t, urls[i%len(urls)], spec, dir, name)
		servers = append(servers, p)
		addresses[name] = address
	}
	awaitInStep(t, all, spec, dir)

	load := startFaultLoad(t, addresses)
	load.awaitReports(500)
	time.Sleep(*clusterLoad)

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
	reconnected := time.Since(killed)
	awaitInStep(t, strings.Join(slices.Delete(slices.Clone(urls), victim, victim+1), ","), spec, dir)
	inStep := time.Since(killed)
	if *longFaults && inStep > healWithin {
		t.Errorf("the herd was in step again %v after a broker was killed, want %v at most", inStep, healWithin)
	}
	load.awaitReports(500)
	time.Sleep(*clusterLoad)
	lasted, reports := load.stop()
	lost, clients := load.lost(addresses)
	t.Logf("%v were connected to another broker %v after theirs was killed; the herd was in step again after %v; %d reports of %d clients acknowledged, %.0f per second, %d lost",
		moved, reconnected.Round(time.Millisecond), inStep.Round(time.Millisecond), reports, clients, float64(reports)/lasted.Seconds(), lost)
	for _, p := range servers {
		p.stop()
	}
}

// TestClusterTLS: mutual TLS between brokers, and between brokers and clients.
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

// TestRegions: a herd on two clusters that are joined by gateways, as in
// bus/CLUSTER.md, with the same keys.
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

// TestNameConflictAfterPartition: two processes claim the same server name while their
// brokers are partitioned. When the brokers are connected, the later one exits.
func TestNameConflictAfterPartition(t *testing.T) {
	t.Parallel()
	clusters := []string{freeAddress(t), freeAddress(t)}
	dir := t.TempDir()
	write := func(i int, routes string) (file string) {
		t.Helper()
		file = filepath.Join(dir, keydir.ClusterConf(i))
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
