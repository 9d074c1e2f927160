package google

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"herd/places"
	"herd/places/internal/web"
)

const (
	service = "Google's Nearby Search"
	path    = "/maps/api/place/nearbysearch/json"
)

// DefaultBase is where the API is.
const DefaultBase = "https://maps.googleapis.com"

// Config says how to reach the API.
type Config struct {
	Base  *url.URL // DefaultBase, or what stands in for it
	Key   string   // the API key; none if empty
	Agent string   // what we are to the service: its User-Agent
}

// Source is a places.Source that asks the API once for each question. It may be used by many goroutines.
type Source struct {
	endpoint *url.URL
	key      string
	web      *web.Client
}

// New returns a source. It asks nothing yet.
func New(cfg Config) *Source {
	password, _ := cfg.Base.User.Password()
	return &Source{web.Endpoint(cfg.Base, path), cfg.Key, web.NewClient(cfg.Agent, cfg.Key, password)}
}

// Nearby answers q, whose radius must not be 0.
func (s *Source) Nearby(ctx context.Context, q places.Query) ([]byte, error) {
	reply, err := s.web.Do(ctx, service, s.request(q))
	if err != nil {
		return nil, err
	}
	return judge(reply, q.Bound)
}

func (s *Source) request(q places.Query) *http.Request {
	u := *s.endpoint
	values := url.Values{
		"location": {degrees(q.Lat) + "," + degrees(q.Lon)},
		"radius":   {strconv.FormatFloat(web.Metres(q.Radius), 'f', -1, 64)},
	}
	if s.key != "" {
		values.Set("key", s.key)
	}
	u.RawQuery = values.Encode()
	return &http.Request{Method: http.MethodGet, URL: &u, Header: http.Header{}}
}

func degrees(f float64) string { return strconv.FormatFloat(f, 'f', -1, 64) }

// judge tells answers from failures.
func judge(reply web.Reply, bound int) ([]byte, error) {
	a, err := read(reply.Body)
	switch {
	case err != nil && reply.Code != http.StatusOK:
		return nil, reply.Failure(service)
	case err != nil:
		return nil, web.Garbled(service, err)
	case a.status == places.StatusOK || a.status == places.StatusZeroResults:
		if reply.Code != http.StatusOK {
			return nil, reply.Failure(service)
		}
		if a.status == places.StatusOK && a.ends == nil {
			e := web.Unknown("%s answered OK without results", service)
			e.Err = errors.New("no key results")
			return nil, e
		}
		return a.cut(reply.Body, bound), nil
	}
	message := a.message
	if message == "" {
		message = fmt.Sprintf("%s answered %s", service, a.status)
	}
	e := &places.Error{Status: a.status, Message: web.Clip(message), Body: a.cut(reply.Body, bound)}
	switch a.status {
	case places.StatusUnknownError:
		e.Retry = true
	case places.StatusOverQueryLimit, overDailyLimit:
		e.Wait = reply.RetryAfter(time.Minute)
		if a.status == overDailyLimit || Daily(a.message) {
			e.Wait = time.Until(Midnight(time.Now()))
		}
	}
	return nil, e
}
