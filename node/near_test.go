package node

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"herd/bus"
	"herd/bus/bustest"
	"herd/node/geo"
	"herd/node/status"
	"herd/node/wire"
)

// newNearNode makes a server that is ready, and does not run.
func newNearNode() *Node {
	limits := generous
	limits.Clients = 0
	n := New(Config{Name: "Solo", Epoch: 1, Limits: limits, Bus: (&bustest.Network{}).Bus("Solo"), Places: noPlaces{}, Log: discard})
	n.ready.open()
	return n
}

// reportAt merges a report.
func (n *Node) reportAt(t interface{ Fatal(...any) }, client, location string, seconds int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	c := wire.ParseCommand(fmt.Appendf(nil, "IAMAT %s %s %d", client, location, seconds))
	if _, news, err := n.replica.IAmAt(nil, c, time.Unix(int64(seconds), 0)); err != nil || !news {
		t.Fatal("report of ", client, " at ", location, ": ", news, err)
	}
}

// nearByBruteForce is the answer to a request, by comparing all records of clients that are known.
func (n *Node) nearByBruteForce(center geo.Point, km float64, limit int) string {
	n.mu.Lock()
	defer n.mu.Unlock()
	type found struct {
		km     float64
		record wire.Record
	}
	var all []found
	m, now := n.replica.Map(), time.Now()
	for id := range m.End() {
		if !n.replica.IsKnown(id, now) {
			continue
		}
		r, err := wire.ParseRecord([]byte(string(m.Line(id)))) // it is used after the lock is free
		if err != nil {
			panic(err)
		}
		var p geo.Point
		p.Lat, p.Lon = r.Position()
		if d := geo.Distance(center, p); d <= km {
			all = append(all, found{d, r})
		}
	}
	slices.SortFunc(all, func(a, b found) int {
		return cmp.Or(cmp.Compare(a.km, b.km), bytes.Compare(a.record.Client(), b.record.Client()))
	})
	var text strings.Builder
	for _, f := range all[:min(limit, len(all))] {
		fmt.Fprintf(&text, "%.3f %s\n", f.km, f.record.Line)
	}
	return text.String()
}

// locations draws locations with many equal ones, and those where the arithmetic is special.
func locations() *rapid.Generator[string] {
	return rapid.OneOf(
		rapid.SampledFrom([]string{"+0+0", "-0-0", "+90+0", "-90-180", "+90+123", "+12+180", "+12-180", "+12.0001+179.9999"}),
		rapid.StringMatching(`[+-][0-8]?[0-9](\.[0-9]{1,6})?[+-](1[0-7])?[0-9](\.[0-9]{1,6})?`),
		rapid.StringMatching(`\+48\.[0-9]{2,18}\+011\.[0-9]{2,18}`))
}

// TestNearWhileClientsMove: an answer is that of comparing all records at the moment when it is
// made, whatever clients have appeared and moved between the slices before.
func TestNearWhileClientsMove(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n, now := newNearNode(), 0
		report := func(client int, at string) {
			now++
			n.reportAt(t, fmt.Sprint("c", client), at, now)
		}
		for i := range rapid.IntRange(1, 60).Draw(t, "clients") {
			report(i, locations().Draw(t, "first location"))
		}
		crowd := rapid.SampledFrom([]int{0, 0, 0, 4000}).Draw(t, "clients at one point")
		for i := range crowd {
			report(1000+i, "+48.5+011.5")
		}
		for range 3 {
			request := rapid.OneOf(locations(), rapid.Just("+48.5+011.5"), rapid.Just("c0")).Draw(t, "where")
			km := rapid.SampledFrom([]string{"0", "0.001", "10", "1000", "10000", "20000", "20040"}).Draw(t, "km")
			limit := rapid.SampledFrom([]int{1, 20, 1000}).Draw(t, "limit")
			q, err := wire.ParseNear(fmt.Appendf(nil, "%s %s %d", request, km, limit))
			if err != nil {
				t.Fatal(err)
			}
			task := nearTask{node: n, query: q, center: geo.Point{Lat: q.Lat, Lon: q.Lon}}
			for {
				done, err := task.slice()
				if err != nil {
					t.Fatal(err)
				}
				if done {
					break
				}
				if task.gaveUp { // they moved too fast
					return
				}
				for range rapid.IntRange(0, 3).Draw(t, "moves") {
					report(rapid.OneOf(rapid.IntRange(0, 60), rapid.IntRange(1000, 1000+crowd)).Draw(t, "who moves"), locations().Draw(t, "to"))
				}
			}
			if want := n.nearByBruteForce(task.center, q.KM, q.Limit); string(task.reply) != want {
				t.Fatalf("%s %s %d:\n%s\nwant\n%s", request, km, limit, task.reply, want)
			}
			report(0, locations().Draw(t, "c0 moves to"))
		}
	})
}

// TestNearSlices: the lock is held for a bounded number of clients, to make the index and to
// search a crowd at one point.
func TestNearSlices(t *testing.T) {
	t.Parallel()
	const clients = 50_000
	n := newNearNode()
	for i := range clients {
		n.reportAt(t, fmt.Sprint("c", i), "+0+0", 1)
	}
	q, err := wire.ParseNear([]byte("+0+0 1 3"))
	if err != nil {
		t.Fatal(err)
	}
	const most = nearWork/2/absorbWork + 1 // put into the index by one slice
	task, indexed, building, searching := nearTask{node: n, query: q}, 0, 0, 0
	for done := false; !done; {
		if done, err = task.slice(); err != nil {
			t.Fatal(err)
		}
		if len(task.reply) == 0 && task.search == nil && task.tries == 0 {
			building++
		} else {
			searching++
		}
		if now := n.nearby.index.Len(); now-indexed > most {
			t.Fatalf("one slice has put %d clients into the index, want at most %d", now-indexed, most)
		} else {
			indexed = now
		}
	}
	// Each client of the crowd is read once: by a short search that is given up, or a long one.
	if least := clients / most; building < least {
		t.Errorf("the index was made in %d slices, want at least %d", building, least)
	}
	if least := clients * 8 / nearWork; searching < least {
		t.Errorf("the crowd was searched in %d slices, want at least %d", searching, least)
	}
	if want := n.nearByBruteForce(geo.Point{}, 1, 3); string(task.reply) != want {
		t.Errorf("%q, want %q", task.reply, want)
	}
	t.Logf("%d slices to make the index, %d to search", building, searching)
}

// TestNearGivesUp: a request whose place moves again and again while a crowd is searched ends
// with an error.
func TestNearGivesUp(t *testing.T) {
	t.Parallel()
	n := newNearNode()
	for i := range 20_000 {
		n.reportAt(t, fmt.Sprint("c", i), "+0+0", 1)
	}
	q, err := wire.ParseNear([]byte("c0 20000 3"))
	if err != nil {
		t.Fatal(err)
	}
	task, moves := nearTask{node: n, query: q}, 0
	for !task.gaveUp {
		if done, err := task.slice(); done || err != nil {
			t.Fatalf("done: %v, %v", done, err)
		}
		if task.search != nil {
			moves++
			n.reportAt(t, "c0", fmt.Sprintf("+0.%d+0", moves), 1+moves)
		}
		if moves > 100 {
			t.Fatal("the search does not give up")
		}
	}
}

// TestNearRequests: replies and errors, with what is counted.
func TestNearRequests(t *testing.T) {
	t.Parallel()
	n := newNearNode()
	n.reportAt(t, "kiwi", "+1+1", 1)
	n.reportAt(t, "late", "+1+2", 1)
	n.reportAt(t, "late", "+1+3", 2)
	if n.replica.Changed() != 0 || n.nearby.index != nil {
		t.Error("a server that was never asked keeps an index")
	}
	for request, want := range map[string]string{
		"+1+1 1":        "0.000 AT Solo +0.000000000 kiwi +1+1 1\n",
		" kiwi\t1 \n":   "0.000 AT Solo +0.000000000 kiwi +1+1 1\n",
		"-1-1 20040 1":  "314.499 AT Solo +0.000000000 kiwi +1+1 1\n",
		"+1+3 0":        "0.000 AT Solo +0.000000000 late +1+3 2\n",
		"+1-3 20 1":     "",
		"+1+2 111.1779": "",
	} {
		if got, err := n.Answer(status.NearEndpoint.Name, []byte(request)); err != nil || string(got.Data) != want || got.Header != nil {
			t.Errorf("%q: %q, %v, %v, want %q", request, got.Data, got.Header, err, want)
		}
	}
	if _, err := n.Answer(status.NearEndpoint.Name, []byte("emu 1")); !errors.Is(err, bus.ErrUnknown) || !strings.Contains(err.Error(), `"emu"`) {
		t.Errorf("an unknown client: %v", err)
	}
	if _, err := n.Answer(status.NearEndpoint.Name, []byte("kiwi one")); err == nil || errors.Is(err, bus.ErrUnknown) {
		t.Errorf("a malformed request: %v", err)
	}
	s := n.Stats().Near
	if s.Requests["answered"] != 6 || s.Requests["unknown"] != 1 || s.Requests["malformed"] != 1 || s.Records != 2 || s.Bytes == 0 || s.Waiting != 0 || s.Took["search"].Count == 0 {
		t.Errorf("stats %+v", s)
	}
	n.reportAt(t, "late", "+1+4", 3)
	n.reportAt(t, "late", "+1+5", 4)
	n.reportAt(t, "new", "+1+6", 4)
	if s := n.Stats().Near; s.Waiting != 2 {
		t.Errorf("%d clients wait, want 2", s.Waiting)
	}
}

// TestNearBusy: beyond those that may wait, requests are refused at once.
func TestNearBusy(t *testing.T) {
	t.Parallel()
	n := newNearNode()
	n.reportAt(t, "kiwi", "+1+1", 1)
	n.nearby.mu.Lock()
	var all sync.WaitGroup
	for range nearWaiting {
		all.Go(func() {
			if got, err := n.Answer(status.NearEndpoint.Name, []byte("kiwi 1")); err != nil || len(got.Data) == 0 {
				t.Errorf("%q, %v", got.Data, err)
			}
		})
	}
	for n.nearby.waiting.Load() < nearWaiting {
		runtime.Gosched()
	}
	if _, err := n.Answer(status.NearEndpoint.Name, []byte("kiwi 1")); !errors.Is(err, bus.ErrBusy) {
		t.Errorf("one request more: %v, want ErrBusy", err)
	}
	n.nearby.mu.Unlock()
	all.Wait()
	if _, err := n.Answer(status.NearEndpoint.Name, []byte("kiwi 1")); err != nil {
		t.Error(err)
	}
	if s := n.Stats(); s.Near.Requests["busy"] != 1 || s.RequestsRefused != 1 || s.Near.Requests["answered"] != nearWaiting+1 {
		t.Errorf("stats %+v", s.Near.Requests)
	}
}

// TestNearPanic: a fault is an error of its request alone.
func TestNearPanic(t *testing.T) {
	t.Parallel()
	n := newNearNode()
	n.reportAt(t, "kiwi", "+1+1", 1)
	ask := func() error {
		_, err := n.Answer(status.NearEndpoint.Name, []byte("kiwi 1"))
		return err
	}
	if err := ask(); err != nil {
		t.Fatal(err)
	}
	index := n.nearby.index
	n.nearby.index, n.nearby.next = nil, 0
	n.nearby.moved = nil
	saved := n.cfg.Bus
	n.cfg.Bus = nil
	if err := ask(); !errors.Is(err, bus.ErrUnavailable) {
		t.Errorf("a request that panics: %v", err)
	}
	n.cfg.Bus, n.nearby.index = saved, index
	if err := ask(); err != nil || n.Stats().Panics != 1 {
		t.Errorf("the next request: %v, %d panics", err, n.Stats().Panics)
	}
}

// TestNearBeforeReady: a server that is not ready refuses.
func TestNearBeforeReady(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := New(Config{Name: "Solo", Limits: generous, Bus: (&bustest.Network{}).Bus("Solo"), Places: noPlaces{}, Log: discard})
		if _, err := n.Answer(status.NearEndpoint.Name, []byte("+1+1 1")); !errors.Is(err, bus.ErrUnavailable) {
			t.Errorf("%v, want ErrUnavailable", err)
		}
	})
}

// TestNearIsDropped: an index that nobody asks is dropped, and changes are tracked no more. The
// next request makes it anew.
func TestNearIsDropped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNearNode()
		n.reportAt(t, "kiwi", "+1+1", 1)
		ask := func() {
			t.Helper()
			if got, err := n.Answer(status.NearEndpoint.Name, []byte("+1+1 1")); err != nil || !strings.HasPrefix(string(got.Data), "0.000 AT") {
				t.Errorf("%q, %v", got.Data, err)
			}
		}
		for range 3 {
			ask()
			time.Sleep(nearUnused - time.Second)
			synctest.Wait()
			if n.Stats().Near.Records == 0 {
				t.Fatal("the index was dropped too early")
			}
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		n.reportAt(t, "kiwi", "+1+1", 2)
		if s := n.Stats().Near; s.Records != 0 || s.Bytes != 0 || s.Waiting != 0 || n.replica.Changed() != 0 {
			t.Errorf("the index was not dropped: %+v, %d changes are queued", s, n.replica.Changed())
		}
		n.reportAt(t, "kiwi", "+5+5", 3)
		n.reportAt(t, "emu", "+1+1", 3)
		ask()
		if s := n.Stats().Near; s.Records != 2 {
			t.Errorf("%d records in the new index, want 2", s.Records)
		}
	})
}
