package overpass

import (
	"context"
	"encoding/json"
	"fmt"

	"herd/places"
)

// The first circle that is asked for, and how much larger the next one is.
const (
	firstStep = 400 // metres
	widening  = 5
)

// Widening asks a source for a small circle first, and for larger ones while it has too few places, up to the circle that
// was asked for. In a city that spares the server the tens of thousands of features of a large circle.
//
// It gives a question up at the first failure: fewer places than there are would be a wrong answer.
type Widening struct{ src places.Source }

// NewWidening returns a source that asks src, which must answer with the nearest places.
func NewWidening(src places.Source) *Widening { return &Widening{src} }

// Nearby answers q.
func (w *Widening) Nearby(ctx context.Context, q places.Query) ([]byte, error) {
	step := q
	for step.Radius = firstStep; step.Radius < q.Radius; step.Radius *= widening {
		body, err := w.src.Nearby(ctx, step)
		if err != nil {
			return nil, err
		}
		var answer struct{ Results []struct{} }
		if err := json.Unmarshal(body, &answer); err != nil {
			return nil, fmt.Errorf("count places: %w", err)
		}
		if len(answer.Results) >= q.Bound {
			return body, nil
		}
	}
	return w.src.Nearby(ctx, q)
}
