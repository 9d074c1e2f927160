package watch

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
)

// TestHost: the page answers on IP addresses, localhost and the names of the settings only, on all paths.
func TestHost(t *testing.T) {
	t.Parallel()
	page, _ := startPage(t, newFakeHerd(), func(c *Config) { c.Hosts = []string{"herd.example.com"} })
	for host, want := range map[string]int{
		"127.0.0.1": 200, "127.0.0.1:12080": 200, "[::1]:12080": 200, "[::1]": 200, "192.0.2.7:1": 200, "localhost": 200, "LOCALHOST:12080": 200, "localhost.": 200,
		"herd.example.com": 200, "Herd.Example.COM:443": 200, "herd.example.com.": 200,
		"evil.example": 421, "evil.example:12080": 421, "localhost.evil.example": 421, "127.0.0.1.evil.example": 421, "herd.example.com.evil.example": 421, "": 421, "xherd.example.com": 421,
	} {
		for _, path := range []string{"/", "/api/client?id=", "/nothing"} {
			reply := get(page, path, func(r *http.Request) { r.Host = host })
			if refused := reply.Code == http.StatusMisdirectedRequest; refused != (want == 421) || refused && (!strings.Contains(reply.Body.String(), HostsVariable) || strings.Count(reply.Body.String(), "\n") != 1) {
				t.Errorf("Host %q, %s: %d %q, want %d", host, path, reply.Code, reply.Body, want)
			}
		}
	}
}

// TestOtherOrigins: a page of another origin may link to the page, and no more.
func TestOtherOrigins(t *testing.T) {
	t.Parallel()
	page, _ := startPage(t, newFakeHerd(), nil)
	for site, want := range map[string]int{"cross-site": 403, "same-site": 403, "same-origin": 400, "none": 400, "": 400} {
		from := func(r *http.Request) { r.Header.Set("Sec-Fetch-Site", site) }
		if got := get(page, "/api/client", from).Code; got != want {
			t.Errorf("/api/client from %q: %d, want %d", site, got, want)
		}
		if got := get(page, "/", from).Code; got != http.StatusOK {
			t.Errorf("the page from %q: %d", site, got)
		}
	}
}

// TestHeaders: each reply, errors too, has the headers that keep other pages away.
func TestHeaders(t *testing.T) {
	t.Parallel()
	page, _ := startPage(t, newFakeHerd(), nil)
	for _, path := range []string{"/", "/nothing", "/api/client", "/api/clients?south=1"} {
		for _, host := range []string{"127.0.0.1", "evil.example"} {
			h := get(page, path, func(r *http.Request) { r.Host = host }).Header()
			for name, want := range map[string]string{
				"Content-Security-Policy": policy, "X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer",
				"Cross-Origin-Resource-Policy": "same-origin",
			} {
				if got := h.Get(name); got != want {
					t.Errorf("%s at %s: %s is %q, want %q", path, host, name, got, want)
				}
			}
			if h.Get("Access-Control-Allow-Origin") != "" || h.Get("Cache-Control") == "" {
				t.Errorf("%s: %v", path, h)
			}
		}
	}
	if !strings.Contains(policy, "default-src 'none'") || strings.Contains(policy, "unsafe") {
		t.Errorf("the policy is %s", policy)
	}
}

// TestFiles: files are compressed, and are not sent again while they are the same.
func TestFiles(t *testing.T) {
	t.Parallel()
	page, _ := startPage(t, newFakeHerd(), nil)
	plain := get(page, "/", nil)
	if plain.Code != http.StatusOK || plain.Header().Get("Content-Encoding") != "" || plain.Header().Get("Content-Type") != "text/html; charset=utf-8" || !strings.Contains(plain.Body.String(), "<title>") {
		t.Fatalf("%d %v %.200s", plain.Code, plain.Header(), plain.Body)
	}
	page.files["large.js"] = &file{kind: kinds[".js"], tag: "t", plain: bytes.Repeat([]byte("a"), 1000), zipped: compress(bytes.Repeat([]byte("a"), 1000))}
	for accept, zipped := range map[string]bool{"gzip": true, "br, gzip;q=0.5": true, "*": true, "gzip;q=0": false, "br": false, "": false, "identity": false} {
		reply := get(page, "/large.js", func(r *http.Request) { r.Header.Set("Accept-Encoding", accept) })
		body := reply.Body.Bytes()
		if got := reply.Header().Get("Content-Encoding") == "gzip"; got != zipped {
			t.Errorf("Accept-Encoding %q: compressed %v, want %v", accept, got, zipped)
		} else if got {
			z, err := gzip.NewReader(bytes.NewReader(body))
			if err != nil {
				t.Fatal(err)
			}
			if body, err = io.ReadAll(z); err != nil {
				t.Fatal(err)
			}
		}
		if len(body) != 1000 || reply.Header().Get("Vary") != "Accept-Encoding" {
			t.Errorf("Accept-Encoding %q: %d bytes, %v", accept, len(body), reply.Header())
		}
		tag := reply.Header().Get("ETag")
		for _, known := range []string{tag, "W/" + tag, `"other", ` + tag, "*"} {
			again := get(page, "/large.js", func(r *http.Request) {
				r.Header.Set("Accept-Encoding", accept)
				r.Header.Set("If-None-Match", known)
			})
			if again.Code != http.StatusNotModified || again.Body.Len() > 0 || again.Header().Get("ETag") != tag {
				t.Errorf("If-None-Match %s: %d, %d bytes", known, again.Code, again.Body.Len())
			}
		}
	}
	if compress([]byte("ab")) != nil {
		t.Error("a short file is larger when compressed, and is compressed")
	}
	head := get(page, "/", func(r *http.Request) { r.Method = http.MethodHead })
	if head.Code != http.StatusOK || head.Body.Len() > 0 || head.Header().Get("Content-Length") == "" {
		t.Errorf("HEAD: %d, %d bytes", head.Code, head.Body.Len())
	}
	for _, path := range []string{"/page.go", "/page/index.html", "/..%2fpage.go", "/index.html/", "/api"} {
		if reply := get(page, path, nil); reply.Code != http.StatusNotFound {
			t.Errorf("%s: %d", path, reply.Code)
		}
	}
	if reply := get(page, "/", func(r *http.Request) { r.Method = http.MethodPost }); reply.Code != http.StatusMethodNotAllowed {
		t.Errorf("POST: %d", reply.Code)
	}
}

// fakeControls notes what it is asked for.
type fakeControls struct{ did []string }

func (f *fakeControls) CanReport() bool { return true }
func (f *fakeControls) Report(_ context.Context, server, client string, _, _ float64) (string, error) {
	f.did = append(f.did, "report "+server+" "+client)
	return "AT", nil
}
func (f *fakeControls) Cut(a, b string) error               { f.did = append(f.did, "cut "+a+" "+b); return nil }
func (f *fakeControls) Heal(string, string) error           { return errors.New("no\nedge") }
func (f *fakeControls) Stop(context.Context, string) error  { return nil }
func (f *fakeControls) Start(context.Context, string) error { return nil }
func (f *fakeControls) IsCut(string, string) bool           { return false }
func (f *fakeControls) IsStopped(string) bool               { return false }

// TestRemoteControl: only a browser on this host may change the herd, whatever it says.
func TestRemoteControl(t *testing.T) {
	t.Parallel()
	controls := &fakeControls{}
	page, _ := startPage(t, newFakeHerd(), func(c *Config) { c.Controls, c.Hosts = controls, []string{"herd.example.com"} })
	post := func(action, remote, host string) int {
		return get(page, "/api/try/"+action, func(r *http.Request) {
			r.Method, r.RemoteAddr, r.Host = http.MethodPost, remote, host
			r.Header.Set("Content-Type", "application/json; charset=utf-8")
			r.Header.Set("Origin", "http://"+host)
			r.Body = io.NopCloser(strings.NewReader(`{"a":"A","b":"B"}`))
		}).Code
	}
	for _, tt := range []struct {
		remote, host string
		want         int
	}{
		{"127.0.0.1:5", "127.0.0.1:12080", 200}, {"[::1]:5", "localhost:12080", 200}, {"[::ffff:127.0.0.1]:5", "[::1]:1", 200}, {"127.9.9.9:5", "localhost", 200},
		{"192.0.2.1:5", "127.0.0.1:12080", 403}, {"[2001:db8::1]:5", "localhost", 403}, {"[::ffff:192.0.2.1]:5", "localhost", 403},
		{"127.0.0.1:5", "herd.example.com", 403}, {"127.0.0.1:5", "192.0.2.1", 403}, {"", "localhost", 403}, {"@", "localhost", 403},
	} {
		controls.did = nil
		if got := post("cut", tt.remote, tt.host); got != tt.want || (len(controls.did) == 1) != (tt.want == 200) {
			t.Errorf("from %q at %q: %d %q, want %d", tt.remote, tt.host, got, controls.did, tt.want)
		}
	}
	old := get(page, "/api/try/cut", func(r *http.Request) { // as a proxy sends it that says nothing else
		r.Method, r.Proto, r.ProtoMajor, r.ProtoMinor, r.Host = http.MethodPost, "HTTP/1.0", 1, 0, "127.0.0.1:12080"
		r.Header.Set("Content-Type", "application/json")
		r.Header.Set("Origin", "http://127.0.0.1:12080")
		r.Body = io.NopCloser(strings.NewReader(`{"a":"A","b":"B"}`))
	})
	if old.Code != http.StatusForbidden {
		t.Errorf("HTTP/1.0: %d, want 403", old.Code)
	}
	if got := post("heal", "127.0.0.1:5", "localhost"); got != http.StatusConflict {
		t.Errorf("an error: %d, want 409", got)
	}
}
