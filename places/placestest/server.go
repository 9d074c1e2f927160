// Package placestest has servers that behave like the services that places come from, errors and slowness included, for
// tests of whatever talks to them. They are real HTTP servers on loopback.
package placestest

import (
	"bytes"
	"compress/gzip"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"sync"
	"testing"
	"time"
)

// Server is one of them. Its URL is what to give as the base.
type Server struct {
	URL *url.URL

	mu       sync.Mutex
	asked    []Request
	trouble  []Trouble // for the next questions, one each
	always   Trouble   // for those after them; nil for none
	underWay map[string]int
	most     int
}

// Request is one question as it arrived.
type Request struct {
	*http.Request
	Body string
	Form url.Values // of the URL and of the body
}

// Trouble answers a question in place of the service. It may leave it to the service, later or changed, by calling next.
type Trouble func(w http.ResponseWriter, r Request, next func(http.ResponseWriter))

// start serves until the test ends. spot tells which questions are the same one.
func start(t testing.TB, serve func(http.ResponseWriter, Request), spot func(Request) string) *Server {
	s := &Server{underWay: map[string]int{}}
	h := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		r.ParseForm() // what is no form has no values
		request := Request{r, string(body), r.Form}
		trouble := s.begin(request, spot(request))
		defer s.end(spot(request))
		next := func(w http.ResponseWriter) { serve(w, request) }
		if trouble == nil {
			next(w)
		} else {
			trouble(w, request, next)
		}
	}))
	t.Cleanup(func() {
		h.CloseClientConnections() // of questions that hang
		h.Close()
	})
	u, err := url.Parse(h.URL)
	if err != nil {
		t.Fatal(err)
	}
	s.URL = u
	return s
}

func (s *Server) begin(r Request, spot string) (trouble Trouble) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked = append(s.asked, r)
	s.underWay[spot]++
	s.most = max(s.most, s.underWay[spot])
	trouble = s.always
	if len(s.trouble) > 0 {
		trouble, s.trouble = s.trouble[0], s.trouble[1:]
	}
	return trouble
}

func (s *Server) end(spot string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.underWay[spot]--
}

// Next makes trouble for the next questions, one each.
func (s *Server) Next(trouble ...Trouble) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.trouble = append(s.trouble, trouble...)
}

// Always makes trouble for all questions to come; nil ends it.
func (s *Server) Always(trouble Trouble) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.always = trouble
}

// Asked is what was asked so far.
func (s *Server) Asked() []Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.asked[:len(s.asked):len(s.asked)]
}

// Last is what was asked last.
func (s *Server) Last(t testing.TB) Request {
	t.Helper()
	asked := s.Asked()
	if len(asked) == 0 {
		t.Fatal("nothing was asked")
	}
	return asked[len(asked)-1]
}

// MostAtOnce is how many equal questions, of one spot, have been under way at the same time.
func (s *Server) MostAtOnce() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.most
}

// Says answers with an HTTP code and a body. Pairs of header are a name and a value each.
func Says(code int, body string, header ...string) Trouble {
	return func(w http.ResponseWriter, _ Request, _ func(http.ResponseWriter)) {
		for i := 0; i+1 < len(header); i += 2 {
			w.Header().Set(header[i], header[i+1])
		}
		w.WriteHeader(code)
		io.WriteString(w, body)
	}
}

// Slow answers as the service does, after d.
func Slow(d time.Duration) Trouble {
	return func(w http.ResponseWriter, r Request, next func(http.ResponseWriter)) {
		select {
		case <-time.After(d):
			next(w)
		case <-r.Context().Done():
		}
	}
}

// Until answers as the service does, once c is closed; arrived, if not nil, is told of each question and must be read.
// gone, if not nil, is told of each asker that did not wait for it.
func Until(c <-chan struct{}, arrived, gone chan<- struct{}) Trouble {
	return func(w http.ResponseWriter, r Request, next func(http.ResponseWriter)) {
		if arrived != nil {
			arrived <- struct{}{}
		}
		select {
		case <-c:
			next(w)
		case <-r.Context().Done():
			if gone != nil {
				gone <- struct{}{}
			}
		}
	}
}

// BreaksOff ends the connection in the middle of the service's answer.
func BreaksOff(w http.ResponseWriter, _ Request, next func(http.ResponseWriter)) {
	whole := httptest.NewRecorder()
	next(whole)
	w.Header().Set("Content-Length", "1000000")
	w.Write(whole.Body.Bytes()[:whole.Body.Len()/2])
	http.NewResponseController(w).Flush()
	panic(http.ErrAbortHandler)
}

// Endless never stops answering, with white space, which JSON may hold any amount of.
func Endless(w http.ResponseWriter, r Request, _ func(http.ResponseWriter)) {
	io.WriteString(w, "{")
	space := bytes.Repeat([]byte(" "), 1<<16)
	for r.Context().Err() == nil {
		if _, err := w.Write(space); err != nil {
			return
		}
	}
}

// Bomb answers with a gzip stream of a few KB that unpacks to size bytes.
func Bomb(size int) Trouble {
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	z.Write(bytes.Repeat([]byte(" "), size))
	z.Close()
	return Says(http.StatusOK, packed.String(), "Content-Encoding", "gzip")
}

// Gzipped answers as the service does, gzipped.
func Gzipped(w http.ResponseWriter, _ Request, next func(http.ResponseWriter)) {
	whole := httptest.NewRecorder()
	next(whole)
	w.Header().Set("Content-Encoding", "gzip")
	w.WriteHeader(whole.Code)
	z := gzip.NewWriter(w)
	z.Write(whole.Body.Bytes())
	z.Close()
}
