package places

import (
	"context"
	"time"
)

// Observed reports each request to a source when it ends: how long it took, and its error.
type Observed struct {
	src    Source
	report func(took time.Duration, err error)
}

// NewObserved returns a source that queries src and calls report after each request. Concurrent queries call report
// concurrently.
func NewObserved(src Source, report func(took time.Duration, err error)) *Observed {
	return &Observed{src, report}
}

// Nearby answers q.
func (o *Observed) Nearby(ctx context.Context, q Query) ([]byte, error) {
	start := time.Now()
	body, err := o.src.Nearby(ctx, q)
	o.report(time.Since(start), err)
	return body, err
}
