package main

import (
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"testing"
)

// TestWatchPort: herd watch says which setting changes an address that is in use, and accepts the hosts of the settings.
func TestWatchPort(t *testing.T) {
	t.Parallel()
	_, url := startWatch(t, "HERD_TOPOLOGY=A-B", "HERD_NATS_URL=nats://"+freeAddress(t), "HERD_WATCH_HOSTS=herd.example.com, other.example")
	address := strings.TrimPrefix(url, "http://")
	second := start(t, []string{"HERD_WATCH_LISTEN=" + address}, "watch")
	if status, said := second.status(), second.stderr.String(); status != exitFailure || strings.Count(said, "\n") != 1 || !strings.Contains(said, address+" for the page") || !strings.Contains(said, "HERD_WATCH_LISTEN") {
		t.Errorf("exit status %d, %q", status, said)
	}
	for host, want := range map[string]int{"herd.example.com": 200, "other.example:8080": 200, "evil.example": 421} {
		r, err := http.NewRequest(http.MethodGet, url+"/", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Host = host
		reply, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		reply.Body.Close()
		if reply.StatusCode != want {
			t.Errorf("Host %s: %s, want %d", host, reply.Status, want)
		}
	}
	wrong := start(t, []string{"HERD_WATCH_HOSTS=http://herd.example.com,,x", "HERD_WATCH_LISTEN=nowhere"}, "watch")
	if status, said := wrong.status(), wrong.stderr.String(); status != exitUsage || strings.Count(said, "HERD_WATCH_HOSTS") != 2 || !strings.Contains(said, "HERD_WATCH_LISTEN") {
		t.Errorf("exit status %d, %q", status, said)
	}
}

// TestPageBehindProxy: the page works behind a reverse proxy with HTTPS, a name and a path prefix, and streams through
// it. Nobody can change the herd that way.
func TestPageBehindProxy(t *testing.T) {
	t.Parallel()
	h := startUp(t, "A-B", "HERD_WATCH_HOSTS=herd.example.com")
	target, err := url.Parse(h.ops)
	if err != nil {
		t.Fatal(err)
	}
	proxy := httptest.NewTLSServer(http.StripPrefix("/herd", &httputil.ReverseProxy{
		FlushInterval: -1,
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(target)
			r.SetXForwarded()
			r.Out.Host = "herd.example.com"
		},
	}))
	defer proxy.Close()
	get := func(path string) *http.Response {
		t.Helper()
		reply, err := proxy.Client().Get(proxy.URL + "/herd/" + path)
		if err != nil {
			t.Fatal(err)
		}
		if reply.StatusCode != http.StatusOK {
			t.Fatalf("%s: %s", path, reply.Status)
		}
		return reply
	}
	index := get("")
	body, err := io.ReadAll(index.Body)
	index.Body.Close()
	if err != nil || index.Header.Get("Content-Type") != "text/html; charset=utf-8" {
		t.Errorf("%v, %v", index.Header, err)
	}
	for _, absolute := range []string{`src="/`, `href="/`, "//"} {
		if strings.Contains(strings.ReplaceAll(string(body), "http://www.w3.org/", ""), absolute) {
			t.Errorf("the page has %q, which a prefix breaks", absolute)
		}
	}
	live := get("api/live")
	defer live.Body.Close()
	page := &livePage{t: t}
	go page.read(live.Body) // until the proxy is closed
	page.awaitWell()
	if page.graph().Controls {
		t.Error("the page has controls behind a proxy")
	}
	request, err := http.NewRequest(http.MethodPost, proxy.URL+"/herd/api/try/stop", strings.NewReader(`{"server":"A"}`))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("Origin", proxy.URL)
	request.Header.Set("Sec-Fetch-Site", "same-origin")
	reply, err := proxy.Client().Do(request)
	if err != nil {
		t.Fatal(err)
	}
	reply.Body.Close()
	if reply.StatusCode != http.StatusForbidden {
		t.Errorf("stop behind a proxy: %s", reply.Status)
	}
	live.Body.Close()
	h.stop()
}
