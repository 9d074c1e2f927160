package main

import (
	"bufio"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"
)

// shownClients is what a page knows from a stream of clients.
type shownClients struct {
	t testing.TB

	mu     sync.Mutex
	names  map[uint32]string
	at     map[string][3]float64 // latitude, longitude and time
	live   bool
	clears int
	gone   int
	age    uint32 // of the last tick
	ticked time.Time
	ended  error
}

// openClients opens a stream of clients.
func openClients(t testing.TB, page, query string) (c *shownClients, leave func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, page+"/api/clients?"+query, nil)
	if err != nil {
		t.Fatal(err)
	}
	reply, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	if reply.StatusCode != http.StatusOK || reply.Header.Get("Content-Type") != "application/octet-stream" {
		body, _ := io.ReadAll(reply.Body)
		t.Fatalf("api/clients: %s %s", reply.Status, body)
	}
	c = &shownClients{t: t, names: map[uint32]string{}, at: map[string][3]float64{}}
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer reply.Body.Close()
		from := bufio.NewReader(reply.Body)
		for {
			if err := c.read(from); err != nil {
				c.mu.Lock()
				c.ended = err
				c.mu.Unlock()
				return
			}
		}
	}()
	leave = func() {
		cancel()
		<-done
	}
	t.Cleanup(leave)
	return c, leave
}

// read reads one message.
func (c *shownClients) read(from *bufio.Reader) error {
	kind, err := from.ReadByte()
	if err != nil {
		return err
	}
	sizes := map[byte]int{1: 6, 2: 20, 3: 4, 4: 0, 5: 0, 6: 4}
	size, known := sizes[kind]
	if !known {
		return fmt.Errorf("a message of kind %d", kind)
	}
	b := make([]byte, size)
	if _, err := io.ReadFull(from, b); err != nil {
		return err
	}
	name := []byte(nil)
	if kind == 1 {
		name = make([]byte, binary.LittleEndian.Uint16(b[4:]))
		if _, err := io.ReadFull(from, name); err != nil {
			return err
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	le := binary.LittleEndian
	switch kind {
	case 1:
		if old, told := c.names[le.Uint32(b)]; told {
			return fmt.Errorf("index %d is %q, and now %q", le.Uint32(b), old, name)
		}
		c.names[le.Uint32(b)] = string(name)
	case 2:
		client, told := c.names[le.Uint32(b)]
		if !told {
			return errors.New("a position before the name")
		}
		c.at[client] = [3]float64{float64(math.Float32frombits(le.Uint32(b[4:]))), float64(math.Float32frombits(le.Uint32(b[8:]))), math.Float64frombits(le.Uint64(b[12:]))}
	case 3:
		client, told := c.names[le.Uint32(b)]
		if !told {
			return errors.New("gone before the name")
		}
		c.gone++
		delete(c.names, le.Uint32(b))
		delete(c.at, client)
	case 4:
		c.clears++
		c.live = false
		clear(c.names)
		clear(c.at)
	case 5:
		c.live = true
	case 6:
		c.age, c.ticked = le.Uint32(b), time.Now()
	}
	return nil
}

func (c *shownClients) await(check func(*shownClients) error) {
	c.t.Helper()
	eventually(c.t, func() error {
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.ended != nil {
			return fmt.Errorf("the stream has ended: %w", c.ended)
		}
		return check(c)
	})
}

// awaitAt waits until a client is at a position.
func (c *shownClients) awaitAt(client string, lat, lon, time float64) {
	c.t.Helper()
	c.await(func(c *shownClients) error {
		if got := c.at[client]; math.Abs(got[0]-lat) > 1e-4 || math.Abs(got[1]-lon) > 1e-4 || got[2] != time {
			return fmt.Errorf("%q is at %v", client, got)
		}
		return nil
	})
}

// awaitOnly waits until the snapshot is complete and exactly these clients are shown.
func (c *shownClients) awaitOnly(clients ...string) {
	c.t.Helper()
	c.await(func(c *shownClients) error {
		if !c.live || len(c.at) != len(clients) {
			return fmt.Errorf("live %v, %v", c.live, c.at)
		}
		for _, client := range clients {
			if _, shown := c.at[client]; !shown {
				return fmt.Errorf("%v, want %q", c.at, client)
			}
		}
		return nil
	})
}

// TestPageClients: a stream has the clients in its box, also across the 180th meridian, and tells when they move, leave
// and are forgotten.
func TestPageClients(t *testing.T) {
	t.Parallel()
	h := startUp(t, "A-B")
	c := dial(t, h.addresses[0])
	nasty := "a\x1b\xff%2F"
	c.ask("IAMAT kiwi +34.07-118.45 5.5")
	c.ask("IAMAT " + nasty + " +34.5-118 5")
	c.ask("IAMAT fiji -17+179.5 5")
	all, _ := openClients(t, h.ops, "")
	all.awaitOnly("kiwi", nasty, "fiji")
	all.awaitAt("kiwi", 34.07, -118.45, 5.5)
	box, _ := openClients(t, h.ops, "south=34&north=35&west=-119&east=-117.5&interval=100")
	box.awaitOnly("kiwi", nasty)
	pacific, _ := openClients(t, h.ops, "south=-20&north=-10&west=175&east=-175")
	pacific.awaitOnly("fiji")

	c.ask("IAMAT kiwi +34.2-118.4 6")
	box.awaitAt("kiwi", 34.2, -118.4, 6)
	c.ask("IAMAT kiwi -17.5-179.5 7")
	box.awaitOnly(nasty)
	pacific.awaitOnly("fiji", "kiwi")
	all.awaitAt("kiwi", -17.5, -179.5, 7)
	p := start(t, []string{"HERD_TOPOLOGY=A-B", "HERD_NATS_URL=" + h.nats, "HERD_NATS_SEED=" + opsSeedOf(t, h)}, "forget", "fiji")
	if p.status() != exitOK {
		t.Fatal(p.stderr.String())
	}
	all.awaitOnly("kiwi", nasty)
	pacific.awaitOnly("kiwi")
	c.ask("IAMAT emu +34.3-118.3 5") // gets the entry that is free again
	all.awaitOnly("kiwi", nasty, "emu")
	box.awaitOnly("emu", nasty)
	for _, one := range []*shownClients{all, box, pacific} {
		one.await(func(c *shownClients) error {
			if c.clears != 1 || c.gone == 0 && one != all || c.ticked.IsZero() || c.age > 3000 {
				return fmt.Errorf("%d clears, %d gone, last tick %v with age %d", c.clears, c.gone, c.ticked, c.age)
			}
			return nil
		})
	}
	h.stop()
}

// TestPageClientsServerLost: when its server is lost, a stream goes on at the next one, with a new snapshot. While the
// bus is frozen, its age grows.
func TestPageClientsServerLost(t *testing.T) {
	t.Parallel()
	const spec = "A-B,B-C"
	herd := startProcesses(t, spec)
	herd.awaitInStep()
	dial(t, herd.addresses["A"]).ask("IAMAT kiwi +1+1 5")
	herd.awaitEqual()
	link := startRelay(t, herd.brokerAt)
	_, page := startWatch(t, "HERD_TOPOLOGY="+spec, "HERD_NATS_URL="+link.url())
	clients, _ := openClients(t, page, "")
	clients.awaitOnly("kiwi")
	herd.servers["A"].kill()
	clients.await(func(c *shownClients) error {
		if c.clears != 2 {
			return fmt.Errorf("%d clears, want another snapshot", c.clears)
		}
		return nil
	})
	clients.awaitOnly("kiwi")
	dial(t, herd.addresses["B"]).ask("IAMAT kiwi +2+2 6")
	clients.awaitAt("kiwi", 2, 2, 6)
	link.freeze()
	clients.await(func(c *shownClients) error {
		if c.age < 3000 {
			return fmt.Errorf("a server was heard %d ms ago", c.age)
		}
		return nil
	})
	link.thaw()
	clients.await(func(c *shownClients) error {
		if c.age > 1500 {
			return fmt.Errorf("a server was heard %d ms ago", c.age)
		}
		return nil
	})
}

// TestPageHosts: names that the page refuses get no metrics either, and containers are asked for their health under any name.
func TestPageHosts(t *testing.T) {
	t.Parallel()
	h := startUp(t, "A-B", "HERD_WATCH_HOSTS=herd.example.com")
	for host, refused := range map[string]bool{"evil.example": true, "herd.example.com": false, "localhost:1": false, "192.0.2.1": false} {
		for _, path := range []string{"/", "/metrics", "/paths", "/healthz", "/readyz"} {
			r, err := http.NewRequest(http.MethodGet, h.ops+path, nil)
			if err != nil {
				t.Fatal(err)
			}
			r.Host = host
			reply, err := http.DefaultClient.Do(r)
			if err != nil {
				t.Fatal(err)
			}
			reply.Body.Close()
			if want := refused && !strings.HasSuffix(path, "z"); (reply.StatusCode == http.StatusMisdirectedRequest) != want {
				t.Errorf("%s at %s: %d, refused should be %v", path, host, reply.StatusCode, want)
			}
		}
	}
	h.stop()
}

// TestPageLogsBusOnce: while the bus is away, pages that ask for clients again and again cause one line in the log, and one more
// when it is back.
func TestPageLogsBusOnce(t *testing.T) {
	t.Parallel()
	bus := freeAddress(t)
	watch, page := startWatch(t, "HERD_TOPOLOGY=A-B,B-C", "HERD_NATS_URL=nats://"+bus)
	for range 3 {
		if status, body := getPage(t, page+"/api/clients"); status != http.StatusServiceUnavailable {
			t.Errorf("without the bus: %d %q, want 503", status, body)
		}
	}
	startUp(t, "A-B,B-C", "HERD_NATS_LISTEN="+bus)
	clients, _ := openClients(t, page, "")
	clients.awaitOnly()
	watch.stop()
	said := watch.stderr.String()
	if strings.Count(said, "level=WARN") != 1 || strings.Count(said, "level=INFO") != 1 || !strings.Contains(said, "clients are followed again") {
		t.Errorf("the log is\n%s", said)
	}
}

// TestPageClientsShared: ten pages with nearly the same box share one stream of the herd. Without a server to follow the
// answer is 503.
func TestPageClientsShared(t *testing.T) {
	t.Parallel()
	h := startUp(t, "A-B")
	streams := func() float64 { return sum(scrape(t, h.ops), "herd_streams") }
	if got := streams(); got != 0 {
		t.Fatalf("%v streams at the beginning", got)
	}
	var leaves []func()
	for i := range 10 {
		c, leave := openClients(t, h.ops, fmt.Sprintf("south=%v&north=10&west=0.3&east=10&interval=%d", .5+.01*float64(i), 1000-50*i))
		c.awaitOnly()
		leaves = append(leaves, leave)
	}
	eventually(t, func() error { // each page with a shorter interval begins it anew
		if got := streams(); got != 1 {
			return fmt.Errorf("%v streams of the herd for ten pages, want 1", got)
		}
		return nil
	})
	for _, leave := range leaves {
		leave()
	}
	eventually(t, func() error {
		if got := streams(); got != 0 {
			return fmt.Errorf("%v streams without a page", got)
		}
		return nil
	})
	h.stop()
	_, page := startWatch(t, "HERD_TOPOLOGY=A-B", "HERD_NATS_URL=nats://"+freeAddress(t))
	if status, body := getPage(t, page+"/api/clients"); status != http.StatusServiceUnavailable || strings.Count(body, "\n") != 1 || !strings.Contains(body, "is the herd running") {
		t.Errorf("without a bus: %d %q", status, body)
	}
}

// getPage gets a URL of a page.
func getPage(t testing.TB, url string) (status int, body string) {
	t.Helper()
	reply, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer reply.Body.Close()
	data, err := io.ReadAll(reply.Body)
	if err != nil {
		t.Fatal(err)
	}
	return reply.StatusCode, string(data)
}

// TestPageAsks: the page answers what all servers know of a client, which places are near it, and who is near; and refuses bad
// questions.
func TestPageAsks(t *testing.T) {
	t.Parallel()
	h := startUp(t, "A-B")
	c := dial(t, h.addresses[0])
	nasty := "a\x1b\xff%2F+&"
	record := c.ask("IAMAT kiwi +34.068930-118.445127 5.5")
	awaitAgreement(t, "kiwi", record, h.addresses...)
	awaitAgreement(t, nasty, c.ask("IAMAT "+nasty+" +34.07-118.44 5"), h.addresses...)
	type server struct {
		Server, Record, Origin       string
		Record_Base64                string
		Known                        bool
		Lat, Lon, Time, Receipt, Age float64
		SameAs                       *int
	}
	var known struct {
		ID, ID_Base64 string
		Servers       []server
		Missing       []string
	}
	ask := func(path string, to any) {
		t.Helper()
		status, body := getPage(t, h.ops+path)
		if status != http.StatusOK {
			t.Fatalf("%s: %d %s", path, status, body)
		}
		if err := json.Unmarshal([]byte(body), to); err != nil {
			t.Fatalf("%s: %v in %s", path, err, body)
		}
	}
	ask("/api/client?id=kiwi", &known)
	if known.ID != "kiwi" || len(known.Servers) != 2 || known.Missing == nil || len(known.Missing) != 0 {
		t.Fatalf("%+v", known)
	}
	for i, s := range known.Servers {
		if s.Server != h.graph.Servers()[i] || !s.Known || s.Record != record || s.Origin != "A" || s.Lat != 34.06893 || s.Lon != -118.445127 || s.Time != 5.5 || s.Receipt < 1e9 || s.Age < 0 || s.Age > 60 || s.SameAs == nil || *s.SameAs != 0 {
			t.Errorf("%+v", s)
		}
	}
	known.Servers = nil
	ask("/api/client?id="+url.QueryEscape(nasty), &known)
	if known.ID_Base64 != "YRv/JTJGKyY=" || !known.Servers[0].Known || known.Servers[0].Record_Base64 == "" {
		t.Errorf("%+v", known)
	}
	known.Servers = nil
	ask("/api/client?id=nobody", &known)
	if len(known.Servers) != 2 || known.Servers[1].Known || known.Servers[0].SameAs != nil {
		t.Errorf("%+v", known)
	}
	var found struct {
		Record string
		Places struct {
			Status  string
			Results []struct{ Name string }
		}
	}
	eventually(t, func() error { // the gazetteer takes a time to load
		if ask("/api/places?id=kiwi&radius=10&bound=2", &found); found.Record != record || found.Places.Status != "OK" || len(found.Places.Results) != 2 || found.Places.Results[0].Name == "" {
			return fmt.Errorf("%+v", found)
		}
		return nil
	})
	var near struct {
		Clients []struct {
			KM             float64
			ID, ID_Base64  string
			Lat, Lon, Time float64
		}
	}
	ask("/api/near?at="+url.QueryEscape("+34.07-118.44")+"&km=1&limit=9", &near)
	if len(near.Clients) != 2 || near.Clients[0].ID_Base64 == "" || near.Clients[0].KM != 0 || near.Clients[1].ID != "kiwi" || near.Clients[1].Lat != 34.06893 {
		t.Errorf("%+v", near)
	}
	for path, want := range map[string]int{
		"/api/client": 400, "/api/client?id=a%20b": 400, "/api/places?id=nobody": 404, "/api/places?id=kiwi&radius=51": 400, "/api/places?id=kiwi&radius=NaN": 400,
		"/api/places?id=kiwi&bound=21": 400, "/api/near?at=nobody": 200, "/api/near?at=kiwi&km=x": 400, "/api/near?at=kiwi&limit=0": 400, "/api/near": 400,
		"/api/clients?south=1": 400, "/api/clients?south=2&north=1&west=0&east=1": 400, "/api/clients?south=NaN&north=1&west=0&east=1": 400,
		"/api/clients?interval=99": 400, "/api/clients?interval=1e3": 400, "/api/nothing": 404, "/nothing": 404, "/../go.mod": 404, "/api/try/report": 404,
	} {
		if status, body := getPage(t, h.ops+path); status != want || strings.Count(body, "\n") > 1 {
			t.Errorf("%s: %d %q, want %d and one line", path, status, body, want)
		}
	}
	h.stop()
}
