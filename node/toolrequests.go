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

// maxConfirmations is how many requests about streams that are open are taken per second, and in a burst, for
// each endpoint. The 64 streams of a server need 6000 where each of them has 22 MB a second.
const maxConfirmations = 20_000

// requestLimits limits the requests of tools, for each endpoint by itself: a flood of one
// kind does not keep operators from the others.
type requestLimits struct {
	byEndpoint map[string]*rate.Limiter // immutable, as the next one
	continuing map[string]*rate.Limiter // of requests about streams that are open
	refused    *atomic.Uint64
}

func newRequestLimits() requestLimits {
	l := requestLimits{map[string]*rate.Limiter{}, map[string]*rate.Limiter{}, &atomic.Uint64{}}
	for _, e := range status.Endpoints {
		most := cmp.Or(e.Rate, maxRequests)
		l.byEndpoint[e.Name] = rate.NewLimiter(rate.Limit(most), most)
		if e.Stream {
			l.continuing[e.Name] = rate.NewLimiter(maxConfirmations, maxConfirmations)
		}
	}
	return l
}

// allow reports whether a request may be answered now, and counts it if not.
func (l requestLimits) allow(endpoint string) bool { return l.ask(l.byEndpoint[endpoint]) }

// allowContinuing is allow for a request about a stream that is open.
func (l requestLimits) allowContinuing(endpoint string) bool { return l.ask(l.continuing[endpoint]) }

func (l requestLimits) ask(limiter *rate.Limiter) bool {
	if limiter == nil || limiter.Allow() { // nil: an unknown endpoint is answered with an error
		return true
	}
	l.refused.Add(1)
	return false
}
