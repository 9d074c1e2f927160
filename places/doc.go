// Package places says what is near a point, in the JSON of Google's Nearby Search (legacy).
//
// A [Query] names a circle and how many places are wanted; a [Source] answers it with one JSON object. [Answer] puts
// the two together for the wire and cannot fail: whatever goes wrong becomes an object of the same format, with one of
// Google's status words.
//
// This package is vocabulary alone. Each source lives in a folder of its own beside this file and imports it; those
// that have no JSON of Google's to pass on build a [Response] and encode it with [Response.Append]. Package gazetteer
// is the one that needs no network.
package places
