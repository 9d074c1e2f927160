package node

import (
	"sync/atomic"

	"golang.org/x/time/rate"

	"herd/node/status"
)

// maxRequests, maxRecords and maxNear are how many requests of tools for one endpoint are
// answered per second, and in a burst: for the record of a client and for who is near, which
// cost little, and for each other endpoint. Many people with `herd status` need less.
const (
	maxRequests = 200
	maxRecords  = 20_000
	maxNear     = 20_000
)

// requestLimits limits the requests of tools, for each endpoint by itself: a flood of one
// kind does not keep operators from the others.
type requestLimits struct {
	byEndpoint map[string]*rate.Limiter // immutable
	refused    *atomic.Uint64
}

func newRequestLimits() requestLimits {
	l := requestLimits{map[string]*rate.Limiter{}, &atomic.Uint64{}}
	for _, endpoints := range [][]string{status.Endpoints, status.SharedEndpoints, status.ServerEndpoints} {
		for _, endpoint := range endpoints {
			l.byEndpoint[endpoint] = rate.NewLimiter(maxRequests, maxRequests)
		}
	}
	l.byEndpoint[status.RecordEndpoint] = rate.NewLimiter(maxRecords, maxRecords)
	l.byEndpoint[status.NearEndpoint] = rate.NewLimiter(maxNear, maxNear)
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
