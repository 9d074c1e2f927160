// Package overpass queries an Overpass server for OpenStreetMap features near a point. It looks for features with a name
// and a key such as amenity, shop, tourism, leisure or historic, and for stations, stops and airports.
//
// Results are sorted by distance. A server returns at most 1000 features, in an order of its own, so a larger number
// would lose some of the nearest. Wrap [Source] in an [ExpandingSearch], which starts with a small circle.
//
// Tags are mapped to Google's types (types.go). The place_id is the id of the feature, for example osm:node/240109189.
// The vicinity is built from the address tags. html_attributions credit OpenStreetMap under the ODbL, which allows
// caching.
//
// Overpass reports some errors with HTTP 200, as a remark beside partial results. Responses that report an overloaded
// server, such as 429 and 504, set Error.RetryAfter. A query that is too expensive for the server is not retried.
package overpass
