package overpass

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"herd/places"
	"herd/places/internal/web"
)

const (
	service = "the Overpass server"
	path    = "/api/interpreter"
	// busy is how long a server is left alone that says it has too much to do, and not for how long. A Breaker makes it
	// longer each time that this was not enough.
	busy = 5 * time.Second
)

// Config says which server.
type Config struct {
	Base  *url.URL // such as https://overpass.example.org, with or without /api/interpreter
	Agent string   // what we are to the server: its User-Agent
}

// Source is a places.Source that asks an Overpass server once for each question. It may be used by many goroutines.
type Source struct {
	endpoint *url.URL
	web      *web.Client
}

// New returns a source. It asks nothing yet.
func New(cfg Config) *Source {
	password, _ := cfg.Base.User.Password()
	return &Source{web.Endpoint(cfg.Base, path), web.NewClient(cfg.Agent, password)}
}

// Nearby answers q.
func (s *Source) Nearby(ctx context.Context, q places.Query) ([]byte, error) {
	reply, err := s.web.Do(ctx, service, s.request(q))
	if err != nil {
		return nil, err
	}
	if reply.Code != http.StatusOK {
		return nil, failure(reply)
	}
	elements, err := decode(reply.Body)
	if err != nil {
		return nil, err
	}
	found := near(q, elements)
	return response(found[:min(q.Bound, len(found))]).Append(nil), nil
}

func (s *Source) request(q places.Query) *http.Request {
	form := url.Values{"data": {query(q)}}.Encode()
	u := *s.endpoint
	return &http.Request{
		Method: http.MethodPost, URL: &u, ContentLength: int64(len(form)),
		Header:  http.Header{"Content-Type": {"application/x-www-form-urlencoded"}, "Accept": {"application/json"}},
		Body:    io.NopCloser(strings.NewReader(form)),
		GetBody: func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(form)), nil },
	}
}

// failure is what an HTTP code other than 200 means.
func failure(reply web.Reply) *places.Error {
	e := reply.Failure(service)
	switch reply.Code {
	case http.StatusTooManyRequests:
		e.Wait = reply.RetryAfter(busy)
	case http.StatusGatewayTimeout:
		e.Wait, e.Retry = reply.RetryAfter(busy), false
	}
	return e
}

// decode reads an answer that came with HTTP 200, which does not make it one.
func decode(body []byte) ([]element, error) {
	var answer struct {
		Elements []element `json:"elements"`
		Remark   string    `json:"remark"`
	}
	err := json.Unmarshal(body, &answer)
	if err == nil && answer.Elements == nil && answer.Remark == "" {
		err = errors.New("no elements")
	}
	if err != nil {
		return nil, web.Garbled(service, err)
	}
	if !strings.Contains(answer.Remark, "runtime error") {
		return answer.Elements, nil
	}
	e := web.Unknown("%s: %s", service, web.Clip(strings.TrimSpace(answer.Remark)))
	switch {
	case strings.Contains(answer.Remark, "rate_limited"):
		e.Status, e.Wait = places.StatusOverQueryLimit, busy
	case strings.Contains(answer.Remark, "Dispatcher_Client"): // it had no room for the question
		e.Wait = busy
	}
	return nil, e
}
