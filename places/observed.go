package places

import (
	"context"
	"time"
)

// Observed tells of each question to a source, when it is answered, how long that took and whether it failed.
type Observed struct {
	src  Source
	tell func(took time.Duration, err error)
}

// NewObserved returns src as tell hears of it. Many goroutines may call tell at once.
func NewObserved(src Source, tell func(took time.Duration, err error)) *Observed {
	return &Observed{src, tell}
}

// Nearby answers q.
func (o *Observed) Nearby(ctx context.Context, q Query) ([]byte, error) {
	began := time.Now()
	body, err := o.src.Nearby(ctx, q)
	o.tell(time.Since(began), err)
	return body, err
}
