package overpass

import (
	"context"
	"encoding/json"
	"fmt"

	"herd/places"
)

const (
	initialRadius = 400 // metres
	radiusFactor  = 5   // from one step to the next
)

// ExpandingSearch queries a source with a small circle first. While there are too few results, it tries larger circles,
// up to the requested one. In a city, this saves the server from listing the tens of thousands of features of a large
// circle.
//
// It returns the first error. It does not return the results of a smaller circle instead, since they may be incomplete.
type ExpandingSearch struct{ src places.Source }

// NewExpandingSearch returns a source that queries src. The results of src must be the nearest places.
func NewExpandingSearch(src places.Source) *ExpandingSearch { return &ExpandingSearch{src} }

// Nearby answers q.
func (s *ExpandingSearch) Nearby(ctx context.Context, q places.Query) ([]byte, error) {
	step := q
	for step.Radius = initialRadius; step.Radius < q.Radius; step.Radius *= radiusFactor {
		body, err := s.src.Nearby(ctx, step)
		if err != nil {
			return nil, err
		}
		var response struct{ Results []struct{} }
		if err := json.Unmarshal(body, &response); err != nil {
			return nil, fmt.Errorf("count results: %w", err)
		}
		if len(response.Results) >= q.Bound {
			return body, nil
		}
	}
	return s.src.Nearby(ctx, q)
}
