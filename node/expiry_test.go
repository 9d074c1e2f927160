package node

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"herd/bus"
	"herd/bus/bustest"
	"herd/node/geo"
	"herd/node/status"
	"herd/node/wire"
)

const testKeep = 10 * time.Minute

// withKeep configures Config.Keep and a journal.
func withKeep(j Journal) func(*Config) {
	return func(cfg *Config) { cfg.Keep, cfg.Journal = testKeep, j }
}

// sleepUntil lets time pass, and what is to be done then happen.
func sleepUntil(at time.Time) {
	time.Sleep(time.Until(at))
	synctest.Wait()
}

// TestExpiryRest: removal pauses for long between its parts, and for less when very many records are expired. Marking pauses briefly.
func TestExpiryRest(t *testing.T) {
	for expired, want := range map[int]time.Duration{0: removeRest, expiredAtOnce: removeRest, 10 * expiredAtOnce: removeRest / 10, 1000 * expiredAtOnce: minRest} {
		if got := expiryRest(false, expired); got != want {
			t.Errorf("with %d expired records it rests %v, want %v", expired, got, want)
		}
		if got := expiryRest(true, expired); got != markRest {
			t.Errorf("with %d expired records, and others to be marked, it rests %v, want %v", expired, got, markRest)
		}
	}
}

// TestRecordsExpire: a client is unknown at every server, and to every answer, once its time has passed; its record leaves maps and
// journals. Other clients stay.
func TestRecordsExpire(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newTestHerd(t, "A-B,B-C")
		journals := map[string]*fakeJournal{}
		for i, name := range h.graph.Servers() {
			journals[name] = &fakeJournal{}
			h.start(name, uint64(i+1), withKeep(journals[name]))
		}
		for _, s := range h.servers {
			s.node.AwaitReady(t.Context())
		}
		time.Sleep(5 * time.Second) // clocks were compared
		began := time.Now()
		line := h.dial("A").ask(fmt.Sprintf("IAMAT kiwi +1+1 %d", began.Unix()))
		settle()
		follower := newTool(t, h.network, h.servers["C"].node, "1", "{}")
		rec, err := wire.ParseRecord([]byte(strings.TrimSuffix(line, "\n")))
		if err != nil {
			t.Fatal(err)
		}
		expires := time.Unix(rec.Receipt.Sec, int64(rec.Receipt.Nsec)).Add(testKeep)
		near := func(server string) (reply string) {
			r, err := h.servers[server].node.Answer(status.NearEndpoint.Name, []byte("+1+1 100"))
			if err != nil {
				t.Fatal(err)
			}
			return string(r.Data)
		}
		near("B") // makes its index
		sleepUntil(expires.Add(-time.Minute))
		emu := h.dial("B").ask(fmt.Sprintf("IAMAT emu +1+1 %d", time.Now().Unix()))
		sleepUntil(expires.Add(-time.Millisecond))
		h.wantRecord("kiwi", line)
		sleepUntil(expires)
		h.wantRecord("kiwi", "?")
		h.wantRecord("emu", emu)
		for name, s := range h.servers {
			if _, err := s.node.Answer(status.RecordEndpoint.Name, []byte("kiwi")); !errors.Is(err, bus.ErrUnknown) {
				t.Errorf("%s: the record of an expired client: %v, want %v", name, err, bus.ErrUnknown)
			}
			if _, err := s.node.Answer(status.NearEndpoint.Name, []byte("kiwi 100")); !errors.Is(err, bus.ErrUnknown) {
				t.Errorf("%s: who is near an expired client: %v, want %v", name, err, bus.ErrUnknown)
			}
			if got := near(name); strings.Contains(got, "kiwi") || !strings.Contains(got, "emu") {
				t.Errorf("%s: near are %q, want emu only", name, got)
			}
		}
		sleepUntil(expires.Add(2 * time.Second))
		for name, s := range h.servers {
			near(name)
			if index := s.node.Stats().Near; index.Records != 1 {
				t.Errorf("%s: %d records are in the index of places, want 1", name, index.Records)
			}
			if got := s.node.Stats(); got.Records != 1 || s.node.Status().Records != 1 || got.Expiry.Expired != 1 || got.Expiry.Paused != "" {
				t.Errorf("%s: %d records, expiry %+v, want one client and one that has expired", name, got.Records, got.Expiry)
			}
		}
		follower.locked(func() {
			if records := follower.follower.Records(); len(records) != 1 || records["emu"] == "" {
				t.Errorf("the follower knows %v, want emu", records)
			}
		})
		sleepUntil(expires.Add(3*time.Minute + 2*time.Second))
		for name, s := range h.servers {
			s.node.locked(func() {
				if held := s.node.replica.Map().Len(); held != 1 {
					t.Errorf("%s holds %d records, want 1", name, held)
				}
			})
		}
		sleepUntil(time.Now().Add(expiredInJournal(testKeep)))
		for name, j := range journals {
			if j.has(line) {
				t.Errorf("the journal of %s still has the record", name)
			}
		}
		h.wantRecord("emu", "?")
	})
}

// TestExpiredRecordsOfJournal: clients of expired records of a journal are unknown when the server is ready. Later the records are stale.
func TestExpiredRecordsOfJournal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		now := time.Now().Unix()
		old := fmt.Sprintf("AT Solo +0.000000000 kiwi +1+1 %d", now-3600)
		young := fmt.Sprintf("AT Solo +0.000000000 emu +1+1 %d", now-60)
		j := &fakeJournal{lines: []string{old, young}}
		h := newSolo(t, withKeep(j))
		h.servers["Solo"].node.AwaitReady(t.Context())
		time.Sleep(2 * time.Second)
		h.wantRecord("kiwi", "?")
		h.wantRecord("emu", young+"\n")
		if n := h.servers["Solo"].node.Stats().Records; n != 1 {
			t.Errorf("%d clients, want 1", n)
		}
		time.Sleep(10 * time.Minute) // a server that is alone removes nothing at first
		synctest.Wait()
		if reply, err := h.servers["Solo"].node.restore([]byte(old + "\n")); err != nil || string(reply) != "news 0 duplicate 0 stale 1 refused 0 bad 0" {
			t.Errorf("restoring an expired record: %q, %v, want stale", reply, err)
		}
	})
}

// TestExpiredInJournalAfterStart: a server that starts compacts its journal when the first of its records leave the map: it may never run as
// long as they may stay in the journal.
func TestExpiredInJournalAfterStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const keep = 48 * time.Hour
		now := time.Now().Unix()
		old := fmt.Sprintf("AT Solo +0.000000000 kiwi +1+1 %d", now-int64(keep/time.Second)-3600)
		young := fmt.Sprintf("AT Solo +0.000000000 emu +1+1 %d", now-60)
		j := &fakeJournal{lines: []string{old, young}}
		h := newSolo(t, func(cfg *Config) { cfg.Keep, cfg.Journal = keep, j })
		h.servers["Solo"].node.AwaitReady(t.Context())
		time.Sleep(15 * time.Minute) // a server that is alone removes nothing in the first ten
		synctest.Wait()
		if j.has(old) || !j.has(young) {
			t.Errorf("the journal has the expired record: %v, and the other one: %v", j.has(old), j.has(young))
		}
	})
}

// TestOtherKeepInStatus: servers with different HERD_KEEP work together, and status says that they differ.
func TestOtherKeepInStatus(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newTestHerd(t, "A-B,B-C")
		h.start("A", 1, func(cfg *Config) { cfg.Keep = testKeep })
		h.start("B", 2, func(cfg *Config) { cfg.Keep = testKeep })
		h.start("C", 3, nil)
		for _, s := range h.servers {
			s.node.AwaitReady(t.Context())
		}
		time.Sleep(5 * time.Second)
		line := h.dial("A").ask(fmt.Sprintf("IAMAT kiwi +1+1 %d", time.Now().Unix()))
		settle()
		h.wantRecord("kiwi", line)
		var replies []status.Server
		for _, name := range slices.Sorted(maps.Keys(h.servers)) {
			replies = append(replies, h.servers[name].node.Status())
		}
		const want = "the servers have different HERD_KEEP: A 10m0s, B 10m0s, C unset"
		if got := status.Gather(h.graph.Servers(), replies, status.Herd{}); !slices.Contains(got.Problems, want) || len(got.Problems) != 1 {
			t.Errorf("problems %q, want %q", got.Problems, want)
		}
	})
}

// TestCompactionWithHoles: a compaction writes all records, however many were removed between them.
func TestCompactionWithHoles(t *testing.T) {
	n := New(Config{Name: "Solo", Epoch: 1, Limits: generous, Bus: (&bustest.Network{}).Bus("Solo"), Places: noPlaces{}, Log: discard})
	const clients = 20_000
	for i := range clients {
		line := fmt.Sprintf("AT A +1.000000000 c%d +1+1 50\n", i)
		n.replica.Replay([]byte(line))
	}
	m := n.replica.Map()
	for i := range clients {
		if i != 5 && i != clients-5 {
			id, _ := m.Find(fmt.Append(nil, "c", i))
			m.Remove(id)
		}
	}
	var got []string
	next := n.snapshot()
	for frames := next(); len(frames) > 0; frames = next() {
		for _, f := range frames {
			if len(f) == 0 {
				t.Error("a frame is empty")
			}
			got = append(got, string(f))
		}
	}
	if text := strings.Join(got, ""); strings.Count(text, "\n") != 2 || !strings.Contains(text, " c5 ") || !strings.Contains(text, fmt.Sprintf(" c%d ", clients-5)) {
		t.Errorf("the snapshot has %q, want two records", got)
	}
	for id := range m.End() {
		if m.Holds(id) {
			m.Remove(id)
		}
	}
	if frames := n.snapshot()(); len(frames) != 0 {
		t.Errorf("the snapshot of an empty map has %q", frames)
	}
}

// TestNearWhileClientsExpire: requests for who is near get exactly the clients that are known, while clients expire, their records
// are removed, and new clients get their IDs.
func TestNearWhileClientsExpire(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rng := rand.New(rand.NewPCG(1, 1))
		h := newSolo(t, func(cfg *Config) { cfg.Keep = time.Minute })
		n := h.servers["Solo"].node
		n.AwaitReady(t.Context())
		time.Sleep(2 * time.Second)
		c := h.dial("Solo")
		for step := range 1500 {
			time.Sleep(time.Duration(rng.IntN(1500)) * time.Millisecond)
			now := time.Now().Unix()
			c.ask(fmt.Sprintf("IAMAT c%d-%d +%d.%d-%d %d", rng.IntN(20), now/100, rng.IntN(3), rng.IntN(10), rng.IntN(3), now))
			if step%3 > 0 {
				continue
			}
			lat, lon, km, limit := float64(rng.IntN(3)), -float64(rng.IntN(3)), rng.IntN(300), 1+rng.IntN(30)
			request := fmt.Sprintf("%+.1f%+.1f %d %d", lat, lon, km, limit)
			reply, err := n.Answer(status.NearEndpoint.Name, []byte(request))
			if err != nil {
				t.Fatalf("%q: %v", request, err)
			}
			want := n.nearByBruteForce(geo.Point{Lat: lat, Lon: lon}, float64(km), limit)
			if got := string(reply.Data); got != want && !expiresNow(n) {
				t.Fatalf("step %d: %q is answered\n%s\nwant\n%s", step, request, got, want)
			}
		}
		n.locked(func() {
			if ids := n.replica.Map().End(); ids > 150 {
				t.Errorf("%d IDs were used, for at most 60 clients at a time", ids)
			}
		})
	})
}

// expiresNow reports whether a client's time is over that is not marked yet. It may take the place of another one among the nearest.
func expiresNow(n *Node) (found bool) {
	n.locked(func() {
		m, now := n.replica.Map(), time.Now()
		for id := range m.End() {
			found = found || m.Holds(id) && m.IsKnown(id) && !n.replica.IsKnown(id, now)
		}
	})
	return found
}
