// Package google queries Google's Nearby Search (legacy Places API) and returns its responses byte for byte.
//
// The API returns HTTP 200 even for errors; the word in "status" is what counts. OK and ZERO_RESULTS are successes. Any
// other status becomes a [places.Error] with that status, the API's error_message, and the response as its Body.
//
// A response with more results than the query's bound is shortened by cutting bytes out (splice.go). It is never decoded
// and encoded again. Layout, key order and number formats stay Google's own, in both layouts that the API is known to
// use.
//
// The API accepts the key only in the URL. Package web keeps it out of errors and responses.
//
// Do not put a cache around this source. Google's terms allow storing only the place_id, and coordinates for 30 days.
package google
