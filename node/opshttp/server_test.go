package opshttp

import (
	"bufio"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// startServer starts a server for handler.
func startServer(t *testing.T, handler http.Handler) (address string) {
	t.Helper()
	return serveOn(t, NewServer(handler, 0, slog.New(slog.DiscardHandler)))
}

func serveOn(t *testing.T, s *http.Server) (address string) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go s.Serve(ln)
	t.Cleanup(func() { s.Close() })
	return ln.Addr().String()
}

func connect(t *testing.T, address, text string) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if _, err := io.WriteString(conn, text); err != nil {
		t.Fatal(err)
	}
	return conn
}

// TestConnections: connections that are silent, slow or idle make room for requests. One
// whose request is being answered is not closed.
func TestConnections(t *testing.T) {
	t.Parallel()
	const healthz = "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
	for name, text := range map[string]string{"silent": "", "half a header": "GET /healthz HTTP/1.1\r\nHost:", "idle": healthz} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			begun, end := make(chan struct{}, 9), make(chan struct{})
			mux := http.NewServeMux()
			mux.Handle("/", Handler(false, prometheus.NewRegistry(), nil))
			mux.HandleFunc("/slow", func(w http.ResponseWriter, r *http.Request) {
				begun <- struct{}{}
				<-end
				io.WriteString(w, "slow")
			})
			address := startServer(t, mux)
			slow := connect(t, address, "GET /slow HTTP/1.1\r\nHost: x\r\n\r\n")
			<-begun
			const others = 4 * MaxConnections
			closed := make(chan struct{}, others)
			for range others {
				conn := connect(t, address, text)
				if text == healthz { // or it would not be idle yet
					if reply, err := http.ReadResponse(bufio.NewReader(conn), nil); err != nil || reply.StatusCode != http.StatusOK {
						t.Fatalf("%v, %v", reply, err)
					}
				}
				go func() {
					io.Copy(io.Discard, conn)
					closed <- struct{}{}
				}()
			}
			reply, err := http.ReadResponse(bufio.NewReader(connect(t, address, healthz)), nil)
			if err != nil || reply.StatusCode != http.StatusOK {
				t.Errorf("a request beside %d connections: %v, %v", others, reply, err)
			}
			for range others - MaxConnections { // those beyond the limit
				<-closed
			}
			close(end)
			if reply, err := http.ReadResponse(bufio.NewReader(slow), nil); err != nil || reply.StatusCode != http.StatusOK {
				t.Errorf("the request that was being answered: %v, %v", reply, err)
			}
		})
	}
}

// TestTimeouts: no connection stays for long without a request, and a profile has its time.
func TestTimeouts(t *testing.T) {
	t.Parallel()
	s := NewServer(http.NotFoundHandler(), 0, slog.New(slog.DiscardHandler))
	for name, d := range map[string]time.Duration{"header": s.ReadHeaderTimeout, "read": s.ReadTimeout, "write": s.WriteTimeout, "idle": s.IdleTimeout} {
		if d <= 0 || d > 30*time.Second {
			t.Errorf("the %s timeout is %v", name, d)
		}
	}
	s = NewServer(Handler(true, prometheus.NewRegistry(), nil), 0, slog.New(slog.DiscardHandler))
	s.WriteTimeout = time.Second
	conn := connect(t, serveOn(t, s), "GET /debug/pprof/trace?seconds=2 HTTP/1.0\r\nHost: localhost\r\n\r\n")
	reply, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil || reply.StatusCode != http.StatusOK {
		t.Fatalf("a profile: %v, %v", reply, err)
	}
	if body, err := io.ReadAll(reply.Body); err != nil || len(body) == 0 {
		t.Errorf("a profile of %d bytes, %v", len(body), err)
	}
}

// TestRefusedProfiles: web pages of others, also under a name that their DNS gives this host,
// get no profiles; nobody gets one of over a minute.
func TestRefusedProfiles(t *testing.T) {
	t.Parallel()
	handler := Handler(true, prometheus.NewRegistry(), nil)
	for _, tt := range []struct {
		method, url string
		header      http.Header
		want        int
	}{
		{"GET", "http://127.0.0.1:12080/debug/pprof/cmdline", nil, http.StatusOK},
		{"GET", "http://localhost:12080/debug/pprof/cmdline", nil, http.StatusOK},
		{"GET", "http://[::1]:12080/debug/pprof/cmdline", nil, http.StatusOK},
		{"GET", "http://127.0.0.1/debug/pprof/", http.Header{"Sec-Fetch-Site": {"none"}}, http.StatusOK},
		{"GET", "http://127.0.0.1:1/debug/pprof/cmdline", http.Header{"Sec-Fetch-Site": {"same-origin"}, "Referer": {"http://127.0.0.1:1/debug/pprof/"}}, http.StatusOK},
		{"POST", "http://127.0.0.1:12080/debug/pprof/symbol", nil, http.StatusOK},
		{"GET", "http://evil.example:12080/debug/pprof/cmdline", nil, http.StatusForbidden},
		{"GET", "http://127.0.0.1.evil.example/debug/pprof/cmdline", nil, http.StatusForbidden},
		{"GET", "http://127.0.0.1/debug/pprof/cmdline", http.Header{"Sec-Fetch-Site": {"cross-site"}}, http.StatusForbidden},
		{"GET", "http://127.0.0.1/debug/pprof/cmdline", http.Header{"Sec-Fetch-Site": {"same-site"}}, http.StatusForbidden},
		{"GET", "http://127.0.0.1/debug/pprof/cmdline", http.Header{"Origin": {"http://evil.example"}}, http.StatusForbidden},
		{"GET", "http://127.0.0.1/debug/pprof/cmdline", http.Header{"Origin": {"null"}}, http.StatusForbidden},
		{"GET", "http://127.0.0.1/debug/pprof/cmdline", http.Header{"Referer": {"http://evil.example/"}}, http.StatusForbidden},
		{"POST", "http://evil.example/debug/pprof/symbol", nil, http.StatusForbidden},
		{"GET", "http://127.0.0.1/debug/pprof/profile?seconds=3600", nil, http.StatusBadRequest},
		{"GET", "http://127.0.0.1/debug/pprof/trace?seconds=60.1", nil, http.StatusBadRequest},
		{"GET", "http://127.0.0.1/debug/pprof/heap?seconds=NaN", nil, http.StatusBadRequest},
		{"GET", "http://127.0.0.1/debug/pprof/profile?seconds=-1", nil, http.StatusBadRequest},
		{"POST", "http://127.0.0.1/debug/pprof/profile", nil, http.StatusMethodNotAllowed},
		{"GET", "http://evil.example/healthz", nil, http.StatusOK}, // containers are asked under any name
	} {
		request, err := http.NewRequest(tt.method, tt.url, http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		for name, values := range tt.header {
			request.Header[name] = values
		}
		if reply := serve(handler, request); reply.Code != tt.want {
			t.Errorf("%s %s %v: %d %q, want %d", tt.method, tt.url, tt.header, reply.Code, reply.Body, tt.want)
		}
	}
}

// TestPageLeavesConnections: however many requests of a page are unanswered, operators get replies, also on new
// connections. A further request of the page gets 429 until one has ended.
func TestPageLeavesConnections(t *testing.T) {
	t.Parallel()
	const most = 20
	begun, end := make(chan struct{}, 99), make(chan struct{})
	page := fakePage{func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/api/live" {
			begun <- struct{}{}
			<-end
		}
	}}
	address := serveOn(t, NewServer(Handler(false, prometheus.NewRegistry(), page), most, slog.New(slog.DiscardHandler)))
	ask := func(path string) int {
		t.Helper()
		conn := connect(t, address, "GET "+path+" HTTP/1.1\r\nHost: x\r\n\r\n")
		conn.SetDeadline(time.Now().Add(5 * time.Second))
		reply, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Errorf("%s: %v", path, err)
			return 0
		}
		return reply.StatusCode
	}
	for range most {
		connect(t, address, "GET /api/live HTTP/1.1\r\nHost: x\r\n\r\n")
		<-begun
	}
	for range 2 * MaxConnections {
		if got := ask("/api/live"); got != http.StatusTooManyRequests {
			t.Fatalf("a request of the page beyond the limit: %d, want 429", got)
		}
		if got := ask("/readyz"); got != http.StatusOK {
			t.Fatalf("/readyz: %d", got)
		}
	}
	close(end)
	deadline := time.Now().Add(10 * time.Second)
	for tick := time.Tick(time.Millisecond); ask("/") != http.StatusOK; <-tick {
		if time.Now().After(deadline) {
			t.Fatal("the page gets no request after the others have ended")
		}
	}
}

// TestLongNames: with a page, a request has room for a client's name of 8,000 bytes, all percent-encoded.
func TestLongNames(t *testing.T) {
	t.Parallel()
	page := http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})
	address := serveOn(t, NewServer(LimitPage(page), 1, slog.New(slog.DiscardHandler)))
	conn := connect(t, address, "GET /?client="+strings.Repeat("%01", 8000)+" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
	if reply, err := http.ReadResponse(bufio.NewReader(conn), nil); err != nil || reply.StatusCode != http.StatusOK {
		t.Errorf("%v, %v", reply, err)
	}
}
