package google

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"herd/places"
	"herd/places/internal/web"
)

const (
	service = "Google's Nearby Search"
	path    = "/maps/api/place/nearbysearch/json"
)

// DefaultBase is the base URL of the API.
const DefaultBase = "https://maps.googleapis.com"

// Config says how to reach the API.
type Config struct {
	Base  *url.URL // DefaultBase or a replacement for it
	Key   string   // the API key; may be empty
	Agent string   // the User-Agent header
}

// Source is a places.Source that sends one request to the API for each query. It may be used concurrently.
type Source struct {
	endpoint *url.URL
	key      string
	web      *web.Client
}

// New returns a source. It sends no request yet.
func New(cfg Config) *Source {
	password, _ := cfg.Base.User.Password()
	return &Source{web.Endpoint(cfg.Base, path), cfg.Key, web.NewClient(cfg.Agent, cfg.Key, password)}
}

// Nearby answers q, whose radius must not be 0.
func (s *Source) Nearby(ctx context.Context, q places.Query) ([]byte, error) {
	resp, err := s.web.Do(ctx, service, s.request(q))
	if err != nil {
		return nil, err
	}
	return parseResponse(resp, q.Bound)
}

func (s *Source) request(q places.Query) *http.Request {
	u := *s.endpoint
	values := url.Values{
		"location": {web.Decimal(q.Lat) + "," + web.Decimal(q.Lon)},
		"radius":   {web.Decimal(web.RoundRadius(q.Radius))},
	}
	if s.key != "" {
		values.Set("key", s.key)
	}
	u.RawQuery = values.Encode()
	return &http.Request{Method: http.MethodGet, URL: &u, Header: http.Header{}}
}

// parseResponse returns the body with at most bound results, or the error that the response reports.
func parseResponse(resp web.Response, bound int) ([]byte, error) {
	l, err := scan(resp.Body)
	switch {
	case err != nil && resp.Code != http.StatusOK:
		return nil, resp.StatusError(service)
	case err != nil:
		return nil, web.Malformed(service, err)
	case l.status == places.StatusOK || l.status == places.StatusZeroResults:
		if resp.Code != http.StatusOK {
			return nil, resp.StatusError(service)
		}
		if l.status == places.StatusOK && l.ends == nil {
			e := web.UnknownError("%s returned status OK without a results list", service)
			e.Err = errors.New("no key results")
			return nil, e
		}
		return l.cut(resp.Body, bound), nil
	}
	message := l.message
	if message == "" {
		message = fmt.Sprintf("%s returned status %s", service, l.status)
	}
	e := &places.Error{Status: l.status, Message: web.Truncate(message), Body: l.cut(resp.Body, bound)}
	switch l.status {
	case places.StatusUnknownError:
		e.Retryable = true
	case places.StatusOverQueryLimit, overDailyLimit:
		e.RetryAfter = resp.RetryAfter(time.Minute)
		if l.status == overDailyLimit || IsDailyQuota(l.message) {
			e.RetryAfter = time.Until(NextMidnight(time.Now()))
		}
	}
	return nil, e
}
