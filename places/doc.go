// Package places says what is near a point, in the JSON of Google's Nearby Search (legacy).
//
// A [Query] names a circle and how many places are wanted; a [Source] answers it with one JSON object. [Answer] puts
// the two together for the wire and cannot fail: whatever goes wrong becomes an object of the same format, with one of
// Google's status words.
//
// Each source lives in a folder of its own beside this file and imports it: gazetteer needs no network; google,
// googlenew and overpass ask services over HTTP, once for each question, and say in their failures ([Error]) what may be
// done next. Those that have no JSON of Google's to pass on build a [Response] and encode it with [Response.Append].
//
// What spares a service questions are sources too, each over another one, to be put together as a service needs them.
// From the client's side on:
//
//	Fallback   asks the next source when one fails, within one time for all
//	Flights    makes one question of equal ones, and cancels what nobody waits for
//	Cache      keeps answers, where a service's terms allow it
//	Logged     tells a log when failing begins and ends
//	Breaker    asks nothing while a quota is used up or a server wants to be left alone
//	Retry      asks again where that may help
//	Rate       keeps to so many questions a second
//	Budget     keeps to so many questions a day
//	Observed   tells of each question how it went, for metrics
package places
