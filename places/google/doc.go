// Package google asks Google's Nearby Search of the legacy Places API, and hands on its answers byte for byte.
//
// The API answers with HTTP 200 also when it refuses; the word in "status" says which it is. OK and ZERO_RESULTS are
// answers. Everything else becomes a [places.Error] with that word, the API's error_message and its own bytes as Body.
// Answers are cut to the bound where they are longer, by leaving out bytes (splice.go): they are never decoded and
// encoded again, so that layout, order of keys and digits of numbers stay Google's own, in both dialects that the API
// was seen to write.
//
// The API takes the key in the URL and nowhere else. Package web keeps it out of errors and out of what comes back.
//
// Google's terms allow nothing of an answer to be kept but the place_id, and coordinates for 30 days: there is to be no
// cache in front of this source.
package google
