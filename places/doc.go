// Package places finds places near a point and returns them in the JSON format of Google's Nearby Search (legacy).
//
// A [Query] describes a circle and the maximum number of results. A [Source] answers a query with one JSON object.
// [AppendResponse] queries a source and appends the JSON to a reply. It always succeeds: an error becomes a JSON object
// of the same format, with one of Google's status words.
//
// Each data source is a package in a subdirectory. Package gazetteer is built in and needs no network. Packages google,
// googlenew and overpass send one HTTP request to a web service for each query. Their errors are [Error] values, which
// say whether and when a retry may help. Sources that do not receive Google's JSON build a [Response] and encode it with
// [Response.Append].
//
// The types below are sources as well. Each wraps another source, and most of them reduce the number of requests that
// reach a web service. A caller combines those it needs, in this order from the outermost to the innermost:
//
//	Fallback      tries the next source when one fails, within one timeout for all
//	Singleflight  sends one request for identical concurrent queries
//	Cache         stores responses, where the service's terms allow it
//	Turns         limits the queries in progress, and lets clients take turns
//	Breaker       pauses a source whose quota is used up, that is overloaded, or that does not answer
//	Logged        logs when a source starts to fail and when it recovers
//	Retry         retries failures that are likely to be temporary
//	RateLimiter   limits the requests per second
//	Budget        limits the requests per day
//	Observed      reports the duration and the error of each request, for metrics
package places
