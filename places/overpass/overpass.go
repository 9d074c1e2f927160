package overpass

import (
	"context"
	"encoding/json"
	"errors"
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
	// defaultPause is the RetryAfter for an overloaded server that does not send the header Retry-After. A Breaker
	// increases it with each consecutive failure.
	defaultPause = 5 * time.Second
)

// Config says how to reach the server.
type Config struct {
	Base  *url.URL // for example https://overpass.example.org, with or without /api/interpreter
	Agent string   // the User-Agent header
}

// Source is a places.Source that sends one request to an Overpass server for each query. It may be used concurrently.
type Source struct {
	endpoint *url.URL
	web      *web.Client
}

// New returns a source. It sends no request yet.
func New(cfg Config) *Source {
	password, _ := cfg.Base.User.Password()
	return &Source{web.Endpoint(cfg.Base, path), web.NewClient(cfg.Agent, password)}
}

// Nearby answers q.
func (s *Source) Nearby(ctx context.Context, q places.Query) ([]byte, error) {
	resp, err := s.web.Do(ctx, service, s.request(q))
	if err != nil {
		return nil, err
	}
	if resp.Code != http.StatusOK {
		return nil, statusError(resp)
	}
	elements, err := decode(resp.Body)
	if err != nil {
		return nil, err
	}
	found := features(q, elements)
	return response(found[:min(q.Bound, len(found))]).Append(nil), nil
}

func (s *Source) request(q places.Query) *http.Request {
	form := url.Values{"data": {overpassQL(q)}}.Encode()
	r := web.Post(s.endpoint, "application/x-www-form-urlencoded", []byte(form))
	r.Header.Set("Accept", "application/json")
	return r
}

// statusError returns the error for an HTTP status code other than 200.
func statusError(resp web.Response) *places.Error {
	e := resp.StatusError(service)
	switch resp.Code {
	case http.StatusTooManyRequests:
		e.RetryAfter = resp.RetryAfter(defaultPause)
	case http.StatusGatewayTimeout:
		e.RetryAfter, e.Retryable = resp.RetryAfter(defaultPause), false
	}
	return e
}

// decode parses the body of an HTTP 200 response, which may still report an error.
func decode(body []byte) ([]element, error) {
	var response struct {
		Elements []element `json:"elements"`
		Remark   string    `json:"remark"`
	}
	err := json.Unmarshal(body, &response)
	if err == nil && response.Elements == nil && response.Remark == "" {
		err = errors.New("no key elements")
	}
	if err != nil {
		return nil, web.Malformed(service, err)
	}
	if !strings.Contains(response.Remark, "runtime error") {
		return response.Elements, nil
	}
	e := web.UnknownError("%s: %s", service, web.Truncate(strings.TrimSpace(response.Remark)))
	switch {
	case strings.Contains(response.Remark, "rate_limited"):
		e.Status, e.RetryAfter = places.StatusOverQueryLimit, defaultPause
	case strings.Contains(response.Remark, "Dispatcher_Client"): // the server had no free slot for the query
		e.RetryAfter = defaultPause
	}
	return nil, e
}
