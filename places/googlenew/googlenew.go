package googlenew

import (
	"context"
	"encoding/json"
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

// DefaultBase is the base URL of the API.
const DefaultBase = "https://places.googleapis.com"

// Field masks: the fields of a place that a request asks for.
const (
	baseFields = "places.id,places.displayName,places.location,places.viewport,places.shortFormattedAddress,places.types," +
		"places.businessStatus,places.plusCode,places.iconMaskBaseUri,places.iconBackgroundColor,places.attributions"
	ratingFields = ",places.rating,places.userRatingCount,places.priceLevel,places.currentOpeningHours"
)

// Config says how to reach the API and which fields to request.
type Config struct {
	Base    *url.URL // DefaultBase or a replacement for it
	Key     string   // the API key; may be empty
	Agent   string   // the User-Agent header
	Ratings bool     // request ratings, prices and opening hours too
}

// Source is a places.Source that sends one request to the API for each query. It may be used concurrently.
type Source struct {
	endpoint  *url.URL
	key       string
	fieldMask string
	web       *web.Client
}

// New returns a source. It sends no request yet.
func New(cfg Config) *Source {
	fieldMask := baseFields
	if cfg.Ratings {
		fieldMask += ratingFields
	}
	password, _ := cfg.Base.User.Password()
	return &Source{web.Endpoint(cfg.Base, path), cfg.Key, fieldMask, web.NewClient(cfg.Agent, cfg.Key, password)}
}

// Nearby answers q, whose radius must not be 0. The API rejects a bound of 0, so such a query sends no request.
func (s *Source) Nearby(ctx context.Context, q places.Query) ([]byte, error) {
	if q.Bound == 0 {
		return places.Response{Status: places.StatusZeroResults}.Append(nil), nil
	}
	resp, err := s.web.Do(ctx, service, s.request(q))
	if err != nil {
		return nil, err
	}
	if resp.Code != http.StatusOK {
		return nil, parseError(resp)
	}
	found, err := decode(resp.Body)
	if err != nil {
		return nil, web.Malformed(service, err)
	}
	return translate(found, q.Bound).Append(nil), nil
}

// searchRequest is the body of a request to the API.
type searchRequest struct {
	MaxResultCount      int `json:"maxResultCount"` // 1 to 20
	LocationRestriction struct {
		Circle struct {
			Center latLng  `json:"center"`
			Radius float64 `json:"radius"`
		} `json:"circle"`
	} `json:"locationRestriction"`
}

func (s *Source) request(q places.Query) *http.Request {
	var search searchRequest
	search.MaxResultCount = q.Bound
	search.LocationRestriction.Circle.Center = latLng{q.Lat, q.Lon}
	search.LocationRestriction.Circle.Radius = web.RoundRadius(q.Radius)
	body, err := json.Marshal(search)
	if err != nil {
		panic(err) // finite numbers can always be encoded
	}
	r := web.Post(s.endpoint, "application/json", body)
	r.Header.Set("X-Goog-FieldMask", s.fieldMask)
	if s.key != "" {
		r.Header.Set("X-Goog-Api-Key", s.key)
	}
	return r
}

// translate returns a response in the legacy format with at most bound places.
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
