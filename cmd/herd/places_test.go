package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"herd/places"
	"herd/places/placestest"
)

// Places from web services, in the replies of a herd.

// The location of client kiwi, as placestest writes it.
const campusLat, campusLon = "34.06893", "-118.445127"

// startWithPlaces starts a herd of one server with places as in env, and a client.
func startWithPlaces(t *testing.T, env ...string) (upHerd, *client) {
	t.Helper()
	h := startUp(t, "Solo", env...)
	c := dial(t, h.addresses[0])
	c.ask("IAMAT kiwi +34.068930-118.445127 1621464827.959498503")
	return h, c
}

// places sends WHATSAT and returns the JSON of the reply.
func (c *client) places(id, radius string, bound int) string {
	c.t.Helper()
	record := c.ask(fmt.Sprintf("WHATSAT %s %s %d", id, radius, bound))
	if !strings.HasPrefix(record, "AT ") {
		c.t.Fatalf("WHATSAT %s: reply %q", id, record)
	}
	var object strings.Builder
	for line := c.line(); line != ""; line = c.line() {
		object.WriteString(line + "\n")
	}
	return object.String()
}

func parseResponse(t *testing.T, object string) (r places.Response) {
	t.Helper()
	if err := json.Unmarshal([]byte(object), &r); err != nil {
		t.Fatalf("%v: %s", err, object)
	}
	return r
}

// TestGoogle: replies contain the bytes of the API, also of errors, and the API is not
// called while its quota is used up.
func TestGoogle(t *testing.T) {
	t.Parallel()
	for _, dialect := range []placestest.Layout{placestest.CompactArrays, placestest.ExpandedArrays} {
		google := placestest.Google(t, placestest.Key, dialect)
		_, c := startWithPlaces(t, "HERD_PLACES=google", "HERD_PLACES_URL="+google.URL.String(), "HERD_PLACES_KEY="+placestest.Key)
		for _, bound := range []int{20, 3} {
			if got, want := c.places("kiwi", "1.001", bound), placestest.GoogleResponse(dialect, campusLat, campusLon, bound); got != want {
				t.Errorf("bound %d: %s\nwant %s", bound, got, want)
			}
		}
		if radius := google.LastRequest(t).Form.Get("radius"); radius != "1001" {
			t.Errorf("radius 1.001 km is %q in the request", radius)
		}
		c.places("kiwi", "0", 5)
		c.places("kiwi", "5", 0)
		if n := len(google.Requests()); n != 2 {
			t.Errorf("%d calls with a radius or bound of 0, want none", n-2)
		}

		denied := placestest.GoogleError("REQUEST_DENIED", placestest.GoogleBadKey)
		google.OverrideNext(placestest.Respond(200, denied))
		if got := c.places("kiwi", "10", 5); got != denied {
			t.Errorf("a refusal: %s\nwant %s", got, denied)
		}
		google.OverrideNext(placestest.Respond(503, ""), placestest.Respond(200, placestest.GoogleError("UNKNOWN_ERROR", "")))
		if got := parseResponse(t, c.places("kiwi", "10", 5)); got.Status != "OK" {
			t.Errorf("after two transient failures: %+v", got)
		}
		spent := placestest.GoogleError("OVER_QUERY_LIMIT", placestest.GoogleDailyQuota)
		google.OverrideNext(placestest.Respond(200, spent))
		if got := c.places("kiwi", "10", 5); got != spent {
			t.Errorf("a used-up quota: %s\nwant %s", got, spent)
		}
		before := len(google.Requests())
		if got := parseResponse(t, c.places("kiwi", "10", 5)); got.Status != "OVER_QUERY_LIMIT" || !strings.Contains(got.ErrorMessage, "paused until") || len(google.Requests()) != before {
			t.Errorf("after a used-up quota: %+v, and %d calls", got, len(google.Requests())-before)
		}
	}
}

// TestBudgetWarning: a source that costs money and has no budget is reported at the start.
func TestBudgetWarning(t *testing.T) {
	t.Parallel()
	const warning = "set HERD_PLACES_BUDGET"
	for _, tt := range []struct {
		source, budget string
		want           bool
	}{{"google", "", true}, {"google", "1000", false}, {"gazetteer", "", false}} {
		h := startUp(t, "Solo", "HERD_PLACES="+tt.source, "HERD_PLACES_KEY=key", "HERD_PLACES_BUDGET="+tt.budget)
		if got := strings.Contains(h.stderr.String(), warning); got != tt.want {
			t.Errorf("%s with a budget of %q: a warning: %v, want %v", tt.source, tt.budget, got, tt.want)
		}
	}
}

// TestGoogleNew: with the key in a file, with and without ratings.
func TestGoogleNew(t *testing.T) {
	t.Parallel()
	api := placestest.GoogleNew(t, placestest.Key)
	key := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(key, []byte(placestest.Key+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	env := []string{"HERD_PLACES=google-new", "HERD_PLACES_URL=" + api.URL.String(), "HERD_PLACES_KEY_FILE=" + key}
	_, c := startWithPlaces(t, env...)
	plain := c.places("kiwi", "10", 5)
	_, c = startWithPlaces(t, append(env, "HERD_PLACES_RATINGS=on")...)
	rated := c.places("kiwi", "10", 5)
	if r := parseResponse(t, plain); len(r.Results) != 5 || r.Results[0].PlaceID != "ChIJ0" || r.Results[0].Rating != 0 {
		t.Errorf("answer %s", plain)
	}
	if r := parseResponse(t, rated); len(r.Results) != 5 || r.Results[0].Rating != 4.5 {
		t.Errorf("answer with ratings %s", rated)
	}
}

// TestOverpass: a repeated query is answered from the cache.
func TestOverpass(t *testing.T) {
	t.Parallel()
	server := placestest.Overpass(t, 10)
	_, c := startWithPlaces(t, "HERD_PLACES=overpass", "HERD_PLACES_URL="+server.URL.String()+"/api/interpreter")
	for range 3 {
		if r := parseResponse(t, c.places("kiwi", "10", 5)); len(r.Results) != 5 || r.Results[0].Name != "Café 0" || !strings.Contains(fmt.Sprint(r.HTMLAttributions), "ODbL") {
			t.Errorf("answer %+v", r)
		}
	}
	if n := len(server.Requests()); n != 1 {
		t.Errorf("%d calls, want 1", n)
	}
	if agent := server.LastRequest(t).Header.Get("User-Agent"); !strings.HasPrefix(agent, "herd/") {
		t.Errorf("User-Agent %q", agent)
	}
}

// TestFallbackOrder: when a source fails the next one is called, with its attribution in
// the reply.
func TestFallbackOrder(t *testing.T) {
	t.Parallel()
	google, overpass := placestest.Google(t, placestest.Key, placestest.ExpandedArrays), placestest.Overpass(t, 10)
	urls := "HERD_PLACES_URL=google=" + google.URL.String() + ",overpass=" + overpass.URL.String()
	key := "HERD_PLACES_KEY=" + placestest.Key
	_, three := startWithPlaces(t, "HERD_PLACES=google, overpass, gazetteer", urls, key)
	_, two := startWithPlaces(t, "HERD_PLACES=google,overpass", urls, key)

	google.OverrideAll(placestest.Respond(200, placestest.GoogleError("REQUEST_DENIED", placestest.GoogleBadKey)))
	if r := parseResponse(t, three.places("kiwi", "10", 5)); !strings.Contains(fmt.Sprint(r.HTMLAttributions), "OpenStreetMap") || r.Status != "OK" {
		t.Errorf("the second: %+v", r)
	}
	overpass.OverrideAll(placestest.OverpassRemark)
	if r := parseResponse(t, three.places("kiwi", "11", 5)); !strings.Contains(fmt.Sprint(r.HTMLAttributions), "GeoNames") || r.Status != "OK" {
		t.Errorf("the third: %+v", r)
	}
	r := parseResponse(t, two.places("kiwi", "10", 5))
	if r.Status != "REQUEST_DENIED" || r.ErrorMessage != "google: "+placestest.GoogleBadKey+`; overpass: the Overpass server: runtime error: Query timed out in "query" at line 3 after 9 seconds.` {
		t.Errorf("all fail: %+v", r)
	}
	google.OverrideAll(nil)
	if got := two.places("kiwi", "10", 5); got != placestest.GoogleResponse(placestest.ExpandedArrays, campusLat, campusLon, 5) {
		t.Errorf("the first, again: %s", got)
	}
}

// TestPlacesBudget: all servers of a herd together keep to the budget.
func TestPlacesBudget(t *testing.T) {
	t.Parallel()
	google := placestest.Google(t, placestest.Key, placestest.ExpandedArrays)
	env := []string{"HERD_PLACES=google", "HERD_PLACES_URL=" + google.URL.String(), "HERD_PLACES_KEY=" + placestest.Key, "HERD_PLACES_BUDGET=7"}
	h := startUp(t, "A-B,B-C", env...)
	c := dial(t, h.addresses[1])
	c.ask("IAMAT kiwi +34.068930-118.445127 1")
	for range 10 {
		c.places("kiwi", "10", 1)
	}
	if n := len(google.Requests()); n != 7 {
		t.Errorf("a herd in one process made %d calls, want 7", n)
	}
	h.stop()
	for i, share := range []int{3, 2, 2} {
		name := h.graph.Servers()[i]
		p := start(t, append(append(env, "HERD_TOPOLOGY=A-B,B-C", "HERD_NATS_URL=nats://127.0.0.1:1"), anyPorts...), "serve", name)
		c := dial(t, p.stderr.await(t, `msg=listening .*clients=(\S+)`)[1])
		c.ask("IAMAT kiwi +34.068930-118.445127 1")
		before := len(google.Requests())
		for range 4 {
			c.places("kiwi", "10", 1)
		}
		if n := len(google.Requests()) - before; n != share {
			t.Errorf("%s made %d calls, want %d", name, n, share)
		}
	}
}

// TestManyClientsFewSpots: 200 clients request places at 50 spots at once, repeatedly. A
// source that may be cached is called once per spot, another never twice at the same
// time for one spot. Meanwhile other clients are served.
func TestManyClientsFewSpots(t *testing.T) {
	t.Parallel()
	const clients, spots, rounds = 200, 50, 3
	tests := map[string]struct {
		server *placestest.Server
		most   int // calls
	}{
		"overpass": {placestest.Overpass(t, 10), spots},
		"google":   {placestest.Google(t, placestest.Key, placestest.ExpandedArrays), clients * rounds},
	}
	for source, tt := range tests {
		t.Run(source, func(t *testing.T) {
			t.Parallel()
			h := startUp(t, "goloman", "HERD_PLACES="+source, "HERD_PLACES_URL="+tt.server.URL.String(), "HERD_PLACES_KEY="+placestest.Key)
			hold, arrived := make(chan struct{}), make(chan struct{}, clients)
			tt.server.OverrideAll(placestest.BlockUntil(hold, arrived, nil))

			var asking []*client
			for i := range clients {
				c := dial(t, h.addresses[i%len(h.addresses)])
				c.ask(fmt.Sprintf("IAMAT client%d +34.%04d-118.4451 1", i, i%spots))
				c.send(fmt.Sprintf("WHATSAT client%d 10 5\n", i))
				asking = append(asking, c)
			}
			for range spots {
				<-arrived
			}
			for _, address := range h.addresses { // while all these wait, other clients get replies
				c := dial(t, address)
				for n := range 20 {
					if got := c.ask(fmt.Sprintf("IAMAT other +1+1 %d", n)); !strings.HasPrefix(got, "AT ") {
						t.Errorf("an IAMAT meanwhile: reply %q", got)
					}
				}
			}
			if n := len(tt.server.Requests()); n != spots {
				t.Errorf("%d clients caused %d calls for %d spots", clients, n, spots)
			}
			tt.server.OverrideAll(placestest.Delay(200 * time.Millisecond))
			close(hold)

			var all sync.WaitGroup
			for i, c := range asking {
				all.Go(func() {
					for round := range rounds {
						if round > 0 {
							c.send(fmt.Sprintf("WHATSAT client%d 10 5\n", i))
						}
						var reply strings.Builder
						for line := "x"; line != ""; {
							var err error
							if line, err = c.r.ReadString('\n'); err != nil {
								t.Errorf("client %d: %v", i, err)
								return
							}
							line = strings.TrimSuffix(line, "\n")
							reply.WriteString(line)
						}
						if !strings.Contains(reply.String(), `"status" : "OK"`) {
							t.Errorf("client %d: %s", i, reply.String())
						}
					}
				})
			}
			all.Wait()
			if n := len(tt.server.Requests()); n > tt.most {
				t.Errorf("%d calls, want %d at most", n, tt.most)
			}
			if n := tt.server.MaxConcurrent(); n != 1 {
				t.Errorf("%d equal calls at the same time, want 1", n)
			}
			t.Logf("%d clients, %d rounds, %d spots: %d calls", clients, rounds, spots, len(tt.server.Requests()))
		})
	}
}

// TestClientDisconnects: the call for a client that disconnects is cancelled, unless
// another client waits for the same call.
func TestClientDisconnects(t *testing.T) {
	t.Parallel()
	// The other client may come too late to wait for the same call: one of five times it must not.
	for attempt := 1; ; attempt++ {
		calls := callsForClientsThatDisconnect(t)
		if calls == 3 {
			return
		}
		if calls != 4 || attempt == 5 {
			t.Fatalf("%d calls, want 3", calls)
		}
	}
}

// callsForClientsThatDisconnect is how many calls are made for a client that disconnects, for two of which one does, and for another one
// that does.
func callsForClientsThatDisconnect(t *testing.T) int {
	google := placestest.Google(t, placestest.Key, placestest.ExpandedArrays)
	hold, arrived, gone := make(chan struct{}), make(chan struct{}, 9), make(chan struct{}, 9)
	google.OverrideAll(placestest.BlockUntil(hold, arrived, gone))
	h, first := startWithPlaces(t, "HERD_PLACES=google", "HERD_PLACES_URL="+google.URL.String(), "HERD_PLACES_KEY="+placestest.Key)
	reset := func(c *client) {
		t.Helper()
		if err := c.conn.SetLinger(0); err != nil { // close sends RST
			t.Fatal(err)
		}
		c.conn.Close()
	}
	ask := func() *client {
		c := dial(t, h.addresses[0])
		c.send("WHATSAT kiwi 10 5\n")
		return c
	}
	first.send("WHATSAT kiwi 10 5\n")
	<-arrived
	reset(first)
	<-gone

	second, third := ask(), ask()
	<-arrived
	third.send("late\n")
	reset(second)
	// When another call has been cancelled, the server has noticed the second client's RST.
	other := dial(t, h.addresses[0])
	other.ask("IAMAT emu +1+1 1")
	other.send("WHATSAT emu 10 5\n")
	<-arrived
	reset(other)
	<-gone
	close(hold)
	if record := third.line(); !strings.HasPrefix(record, "AT Solo ") {
		t.Errorf("reply to the third: %q", record)
	}
	var object strings.Builder
	for line := third.line(); line != ""; line = third.line() {
		object.WriteString(line + "\n")
	}
	if got := object.String(); got != placestest.GoogleResponse(placestest.ExpandedArrays, campusLat, campusLon, 5) {
		t.Errorf("places for the third: %s", got)
	}
	if late := third.line(); late != "? late" {
		t.Errorf("its next reply: %q", late)
	}
	return len(google.Requests())
}

// TestKeyStaysSecret: places source failed in every possible way. All output of the herd is
// collected, and must not contain the key.
func TestKeyStaysSecret(t *testing.T) {
	t.Parallel()
	google, googleNew := placestest.Google(t, "another", placestest.ExpandedArrays), placestest.GoogleNew(t, "another")
	echo := func(w http.ResponseWriter, r placestest.Request, _ func(http.ResponseWriter)) { // replies with the request
		w.WriteHeader(http.StatusForbidden)
		fmt.Fprintf(w, `{"error_message": %q, "results": [], "status": "REQUEST_DENIED", "error": {"message": %q}}`,
			r.URL.String()+r.Form.Get("key"), r.Header.Get("X-Goog-Api-Key"))
	}
	junk := func(w http.ResponseWriter, r placestest.Request, _ func(http.ResponseWriter)) { // replies with the request, not in HTTP
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		defer conn.Close()
		r.Write(conn)
	}
	gone := func(w http.ResponseWriter, r placestest.Request, _ func(http.ResponseWriter)) {
		panic(http.ErrAbortHandler)
	}
	troubles := []placestest.Override{
		nil, echo, junk, gone, placestest.CloseEarly, placestest.Respond(500, placestest.Key), placestest.Respond(200, placestest.Key),
		placestest.Respond(302, "", "Location", "http://127.0.0.1:1/"+placestest.Key), placestest.Respond(200, "{}", "Content-Encoding", "gzip"),
		placestest.Respond(200, placestest.GoogleError("OVER_QUERY_LIMIT", placestest.Key+placestest.GoogleDailyQuota)),
	}
	logs := t.TempDir()
	env := append([]string{
		"HERD_TOPOLOGY=A-B", "HERD_LOG_LEVEL=debug", "HERD_LOG_DIR=" + logs, "HERD_PLACES=google,google-new",
		"HERD_PLACES_URL=google=" + google.URL.String() + ",google-new=" + googleNew.URL.String(), "HERD_PLACES_KEY=" + placestest.Key,
	}, anyPorts...)
	h := startUp(t, "A-B", env...)

	var mu sync.Mutex
	var out bytes.Buffer
	note := func(text ...any) {
		mu.Lock()
		defer mu.Unlock()
		fmt.Fprintln(&out, text...)
	}
	nc, err := nats.Connect(h.nats)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	if _, err := nc.Subscribe("herd.>", func(m *nats.Msg) { note(m.Subject, m.Header, string(m.Data)) }); err != nil {
		t.Fatal(err)
	}
	if err := nc.FlushTimeout(patience); err != nil {
		t.Fatal(err)
	}

	c := dial(t, h.addresses[0])
	c.ask("IAMAT kiwi +34.068930-118.445127 1")
	fail := func(trouble placestest.Override) {
		google.OverrideAll(trouble)
		googleNew.OverrideAll(trouble)
		object := c.places("kiwi", "10", 5)
		if r := parseResponse(t, object); r.Status == "OK" || r.ErrorMessage == "" {
			t.Errorf("reply %s, want an error with a message", object)
		}
		note(object)
	}
	for _, trouble := range troubles {
		fail(trouble)
		fail(nil) // a refusal, so that the sources are not paused
	}
	for range 4 { // until they are
		fail(placestest.CloseEarly)
	}
	for _, path := range []string{"/healthz", "/readyz", "/metrics", "/debug/pprof/cmdline", "/debug/pprof/goroutine?debug=2"} {
		reply, err := http.Get(h.ops + path)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(bufio.NewReader(reply.Body))
		reply.Body.Close()
		if err != nil {
			t.Fatal(err)
		}
		note(reply.Header, string(body))
	}
	for _, args := range [][]string{{"status"}, {"status", "--json"}, {"env"}} {
		p := start(t, append(env, "HERD_NATS_URL="+h.nats), args...)
		p.status()
		note(p.stdout.String(), p.stderr.String())
	}
	bad := start(t, append(env, "HERD_PLACES_KEY="+placestest.Key+" canary", "HERD_PLACES_URL=http://127.0.0.1/?key="+placestest.Key), "up")
	if got := bad.status(); got != exitUsage {
		t.Errorf("a key with white space and a URL with a query: exit status %d, want 2", got)
	}
	note(bad.stderr.String())
	h.stop()
	nc.Flush()
	note(h.stdout.String(), h.stderr.String())
	files, err := filepath.Glob(filepath.Join(logs, "*"))
	if err != nil || len(files) != 2 {
		t.Fatalf("traffic logs %v, %v", files, err)
	}
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		note(string(text))
	}
	all := out.String()
	for _, want := range []string{"places source failed", "places source paused", "herd.edge.A.B", "WHATSAT kiwi 10 5", "/debug/pprof", "REQUEST_DENIED", "[key]", "HERD_PLACES_KEY"} {
		if !strings.Contains(all, want) {
			t.Errorf("the collected output has no %q: it is incomplete", want)
		}
	}
	for _, form := range []string{placestest.Key, url.QueryEscape(placestest.Key), "canary"} {
		if at := strings.Index(all, form); at >= 0 {
			t.Errorf("the key is in the output: …%s…", all[max(0, at-300):min(len(all), at+100)])
		}
	}
}
