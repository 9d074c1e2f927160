package googlenew

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"slices"

	"herd/places"
	"herd/places/internal/web"
)

const (
	service = "Google's Places API (New)"
	path    = "/v1/places:searchNearby"
)

// DefaultBase is where the API is.
const DefaultBase = "https://places.googleapis.com"

// The fields of a place that are asked for.
const (
	fields = "places.id,places.displayName,places.location,places.viewport,places.shortFormattedAddress,places.types," +
		"places.businessStatus,places.plusCode,places.iconMaskBaseUri,places.iconBackgroundColor,places.attributions"
	dearFields = ",places.rating,places.userRatingCount,places.priceLevel,places.currentOpeningHours"
)

// Config says how to reach the API and what to ask for.
type Config struct {
	Base    *url.URL // DefaultBase, or what stands in for it
	Key     string   // the API key; none if empty
	Agent   string   // what we are to the service: its User-Agent
	Ratings bool     // ask for ratings, prices and opening hours too
}

// Source is a places.Source that asks the API once for each question. It may be used by many goroutines.
type Source struct {
	endpoint *url.URL
	key      string
	mask     string
	web      *web.Client
}

// New returns a source. It asks nothing yet.
func New(cfg Config) *Source {
	mask := fields
	if cfg.Ratings {
		mask += dearFields
	}
	password, _ := cfg.Base.User.Password()
	return &Source{web.Endpoint(cfg.Base, path), cfg.Key, mask, web.NewClient(cfg.Agent, cfg.Key, password)}
}

// Nearby answers q, whose radius must not be 0. A bound of 0, which the API refuses, is answered here.
func (s *Source) Nearby(ctx context.Context, q places.Query) ([]byte, error) {
	if q.Bound == 0 {
		return places.Response{Status: places.StatusZeroResults}.Append(nil), nil
	}
	reply, err := s.web.Do(ctx, service, s.request(q))
	if err != nil {
		return nil, err
	}
	if reply.Code != http.StatusOK {
		return nil, failure(reply)
	}
	found, err := decode(reply.Body)
	if err != nil {
		return nil, web.Garbled(service, err)
	}
	return translate(found, q.Bound).Append(nil), nil
}

// search is what the API is asked.
type search struct {
	MaxResultCount      int `json:"maxResultCount"` // 1 to 20
	LocationRestriction struct {
		Circle struct {
			Center latLng  `json:"center"`
			Radius float64 `json:"radius"`
		} `json:"circle"`
	} `json:"locationRestriction"`
}

func (s *Source) request(q places.Query) *http.Request {
	var ask search
	ask.MaxResultCount = q.Bound
	ask.LocationRestriction.Circle.Center = latLng{q.Lat, q.Lon}
	ask.LocationRestriction.Circle.Radius = web.Metres(q.Radius)
	text, err := json.Marshal(ask)
	if err != nil {
		panic(err) // numbers within limits
	}
	header := http.Header{"Content-Type": {"application/json"}}
	header.Set("X-Goog-FieldMask", s.mask)
	if s.key != "" {
		header.Set("X-Goog-Api-Key", s.key)
	}
	u := *s.endpoint
	return &http.Request{
		Method: http.MethodPost, URL: &u, Header: header, ContentLength: int64(len(text)),
		Body:    io.NopCloser(bytes.NewReader(text)),
		GetBody: func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(text)), nil },
	}
}

// translate puts at most bound places in the legacy format.
func translate(found []place, bound int) places.Response {
	r := places.Response{Status: places.StatusZeroResults}
	if len(found) == 0 {
		return r
	}
	r.Status = places.StatusOK
	r.HTMLAttributions = []string{`Places by <a href="https://maps.google.com/">Google Maps</a>`}
	for _, p := range found[:min(bound, len(found))] {
		r.Results = append(r.Results, p.legacy())
		for _, a := range p.Attributions {
			if text := a.html(); !slices.Contains(r.HTMLAttributions, text) {
				r.HTMLAttributions = append(r.HTMLAttributions, text)
			}
		}
	}
	return r
}
