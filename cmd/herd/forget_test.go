package main

import (
	"fmt"
	"strings"
	"testing"
)

// TestForget: the client is unknown at every server, in lookups, status and follow; a later report makes it known.
func TestForget(t *testing.T) {
	t.Parallel()
	h := startUp(t, "A-B,B-C")
	env := []string{"HERD_TOPOLOGY=A-B,B-C", "HERD_NATS_URL=" + h.nats}
	ops := append([]string{"HERD_NATS_SEED=" + opsSeedOf(t, h)}, env...)
	a := dial(t, h.addresses[0])
	record := a.ask("IAMAT kiwi +1.5-2 5")
	awaitAgreement(t, "kiwi", record, h.addresses...)
	follower := start(t, env, "follow", "--interval=10ms")
	follower.stdout.await(t, "kiwi")
	if status, out := outcome(t, env, "forget", "kiwi"); status != exitFailure || contains(out, "only operators may send this request") != nil {
		t.Errorf("forget without a key: status %d, %s", status, out)
	}
	if status, out := outcome(t, ops, "forget", "kiwi"); status != exitOK || out != "client kiwi is unknown from now on\n" {
		t.Errorf("forget: status %d, %s", status, out)
	}
	for _, address := range h.addresses {
		if got := dial(t, address).lookup("kiwi"); !strings.HasPrefix(got, "? ") {
			t.Errorf("%s answers %q", address, got)
		}
	}
	follower.stdout.await(t, "(?m)^- kiwi$")
	if status, out := outcome(t, env, "get", "kiwi"); status != exitFailure || contains(out, "no server knows the client") != nil {
		t.Errorf("get: status %d, %s", status, out)
	}
	if status, out := outcome(t, env, "status"); status != exitOK || strings.Count(out, "  yes    0  ") != 3 {
		t.Errorf("status: %d, %s, want no records", status, out)
	}
	dump := dumped(t, env)
	if len(dump) != 1 || contains(dump[0], " kiwi - 5.000000001") != nil {
		t.Errorf("dump %q, want the tombstone", dump)
	}
	if got := a.ask("IAMAT kiwi +1.5-2 5"); !strings.HasPrefix(got, "AT A ") {
		t.Errorf("the old report is answered %q", got)
	}
	if got := a.lookup("kiwi"); !strings.HasPrefix(got, "? ") {
		t.Errorf("the old report makes the client known: %q", got)
	}
	again := a.ask("IAMAT kiwi +2+2 6")
	awaitAgreement(t, "kiwi", again, h.addresses...)
	if status, out := outcome(t, ops, "forget", "nobody"); status != exitOK || out != "no server knows the client nobody\n" {
		t.Errorf("forget of an unknown client: status %d, %s", status, out)
	}
}

// TestForgetWithoutOne: forget waits for servers to agree, also if one of the herd is down.
func TestForgetWithoutOne(t *testing.T) {
	t.Parallel()
	h := startProcesses(t, "A-B,B-C")
	h.servers["C"].kill()
	a := dial(t, h.addresses["A"])
	for i := range 3 {
		client := fmt.Sprint("kiwi", i)
		a.ask(fmt.Sprintf("IAMAT %s +1.5-2 5", client))
		want := fmt.Sprintf("client %s is unknown from now on\nno reply from C: if it has a newer record, the client comes back with it\n", client)
		if status, out := outcome(t, h.busEnv(h.brokerAt), "forget", client); status != exitOK || out != want {
			t.Errorf("forget: status %d, %s, want %s", status, out, want)
		}
	}
}
