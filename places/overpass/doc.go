// Package overpass asks an Overpass server for what OpenStreetMap knows near a point: features with a name that are an
// amenity, a shop, or of tourism, leisure or history, stations and stops, aerodromes and terminals.
//
// The nearest come first. A server answers at most a thousand features, in an order of its own, so a circle that holds
// more is not for [Source] alone: [Widening] asks for a small one first.
//
// Tags are put in Google's types (types.go). place_id is the feature's own, such as osm:node/240109189, vicinity its
// address as far as it is tagged. html_attributions say that the data are OpenStreetMap's, under the ODbL, which the
// answers may be kept by.
//
// Overpass says some of its failures with HTTP 200, as a remark beside what it had found so far. A server that says that
// it is too busy, as 429 and 504 do, is to be left alone for a while (Error.Wait). A question that was too hard for it is
// not asked again at once.
package overpass
