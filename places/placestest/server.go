// Package placestest provides fake servers for the web services that places come from. Tests can make them fail or delay
// responses. They are real HTTP servers on the loopback interface.
package placestest

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"sync"
	"testing"
)

// Server is a fake service. Its URL is the base URL for a source.
type Server struct {
	URL *url.URL

	mu            sync.Mutex
	requests      []Request
	next          []Override     // for the next requests, one each
	always        Override       // for all later requests; nil for none
	active        map[string]int // requests in progress, by position
	maxConcurrent int            // highest value in active so far
}

// Request is a request that a server received.
type Request struct {
	*http.Request
	Body string
	Form url.Values // from the URL and the body
}

// start runs a server until the test ends. Requests for which position returns the same string count as concurrent
// requests for one position.
func start(t testing.TB, serve func(http.ResponseWriter, Request), position func(Request) string) *Server {
	s := &Server{active: map[string]int{}}
	h := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		r.ParseForm() // an error leaves the form empty
		request := Request{r, string(body), r.Form}
		override := s.begin(request, position(request))
		defer s.end(position(request))
		next := func(w http.ResponseWriter) { serve(w, request) }
		if override == nil {
			next(w)
		} else {
			override(w, request, next)
		}
	}))
	t.Cleanup(func() {
		h.CloseClientConnections() // also those of blocked requests
		h.Close()
	})
	u, err := url.Parse(h.URL)
	if err != nil {
		t.Fatal(err)
	}
	s.URL = u
	return s
}

func (s *Server) begin(r Request, position string) Override {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.requests = append(s.requests, r)
	s.active[position]++
	s.maxConcurrent = max(s.maxConcurrent, s.active[position])
	override := s.always
	if len(s.next) > 0 {
		override, s.next = s.next[0], s.next[1:]
	}
	return override
}

func (s *Server) end(position string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.active[position]--
}

// OverrideNext sets overrides for the next requests, one each. A nil override leaves the request to the service.
func (s *Server) OverrideNext(overrides ...Override) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.next = append(s.next, overrides...)
}

// OverrideAll sets the override for all requests from now on; nil removes it. Overrides of OverrideNext come first.
func (s *Server) OverrideAll(override Override) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.always = override
}

// Requests returns the requests received so far.
func (s *Server) Requests() []Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.requests[:len(s.requests):len(s.requests)]
}

// LastRequest returns the last request received.
func (s *Server) LastRequest(t testing.TB) Request {
	t.Helper()
	requests := s.Requests()
	if len(requests) == 0 {
		t.Fatal("the server received no request")
	}
	return requests[len(requests)-1]
}

// MaxConcurrent returns the highest number of concurrent requests for one position so far.
func (s *Server) MaxConcurrent() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.maxConcurrent
}
