package places

import (
	"context"
	"time"

	"github.com/maypok86/otter/v2"
)

// Cache stores the responses of a source for a fixed time, within a memory limit. When the cache is full, it evicts the
// responses that are used least. It does not store errors.
//
// Use it only for services whose terms allow caching. With a [Singleflight] around it, concurrent cache misses for one
// key send one request.
type Cache struct {
	src     Source
	key     func(Query) Query
	ttl     time.Duration
	entries *otter.Cache[Query, entry]
}

type entry struct {
	body    []byte
	expires time.Time
}

// NewCache returns a source that caches responses of src for ttl, in about maxBytes of memory. Queries with equal keys
// share a response; see [Query.CacheKey]. If key is nil, the query itself is the key.
func NewCache(src Source, key func(Query) Query, ttl time.Duration, maxBytes uint64) *Cache {
	if key == nil {
		key = func(q Query) Query { return q }
	}
	const overhead = 200 // bytes per entry, besides the body
	// Entries carry their own expiry time: otter's expiry would need a goroutine.
	return &Cache{src, key, ttl, otter.Must(&otter.Options[Query, entry]{
		MaximumWeight: maxBytes,
		Weigher:       func(_ Query, e entry) uint32 { return uint32(cap(e.body) + overhead) },
	})}
}

// Nearby answers q.
func (c *Cache) Nearby(ctx context.Context, q Query) ([]byte, error) {
	key := c.key(q)
	if e, ok := c.entries.GetIfPresent(key); ok && time.Now().Before(e.expires) {
		return e.body, nil
	}
	body, err := c.src.Nearby(ctx, q)
	if err != nil {
		return nil, err
	}
	c.entries.Set(key, entry{body, time.Now().Add(c.ttl)})
	return body, nil
}
