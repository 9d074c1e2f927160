package places

import (
	"context"
	"time"

	"github.com/maypok86/otter/v2"
)

// Cache keeps answers and gives them again, for the time and in the memory that it is made with. When that is full, what
// is asked for least goes first. Failures are not kept.
//
// It is for sources whose terms allow it. Behind Flights, a source is asked a question once in a cache's time.
type Cache struct {
	src  Source
	same func(Query) Query
	ttl  time.Duration
	kept *otter.Cache[Query, kept]
}

type kept struct {
	body  []byte
	until time.Time
}

// NewCache returns a source that keeps src's answers for ttl, in memory bytes or so. An answer is given to all queries
// that same makes equal, such as Query.Spot; where same is nil, to equal queries.
func NewCache(src Source, same func(Query) Query, ttl time.Duration, memory uint64) *Cache {
	if same == nil {
		same = func(q Query) Query { return q }
	}
	const overhead = 200                                                  // bytes an answer costs besides its own
	return &Cache{src, same, ttl, otter.Must(&otter.Options[Query, kept]{ // not with its own expiry, which takes a goroutine
		MaximumWeight: memory,
		Weigher:       func(_ Query, k kept) uint32 { return uint32(cap(k.body) + overhead) },
	})}
}

// Nearby answers q.
func (c *Cache) Nearby(ctx context.Context, q Query) ([]byte, error) {
	key := c.same(q)
	if k, ok := c.kept.GetIfPresent(key); ok && time.Now().Before(k.until) {
		return k.body, nil
	}
	body, err := c.src.Nearby(ctx, q)
	if err != nil {
		return nil, err
	}
	c.kept.Set(key, kept{body, time.Now().Add(c.ttl)})
	return body, nil
}
