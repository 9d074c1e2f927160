package node

import (
	"cmp"
	"sync/atomic"

	"golang.org/x/time/rate"

	"herd/node/status"
)

// maxRequests is how many requests of tools for one endpoint are answered per second, and in
// a burst, unless the endpoint has a rate of its own. Many people with `herd status` need less.
const maxRequests = 200

// requestLimits limits the requests of tools, for each endpoint by itself: a flood of one
// kind does not keep operators from the others.
type requestLimits struct {
	byEndpoint map[string]*rate.Limiter // immutable
	refused    *atomic.Uint64
}

func newRequestLimits() requestLimits {
	l := requestLimits{map[string]*rate.Limiter{}, &atomic.Uint64{}}
	for _, e := range status.Endpoints {
		most := cmp.Or(e.Rate, maxRequests)
		l.byEndpoint[e.Name] = rate.NewLimiter(rate.Limit(most), most)
	}
	return l
}

// allow reports whether a request may be answered now, and counts it if not.
func (l requestLimits) allow(endpoint string) bool {
	limiter := l.byEndpoint[endpoint]
	if limiter == nil || limiter.Allow() { // nil: an unknown endpoint is answered with an error
		return true
	}
	l.refused.Add(1)
	return false
}
