// Package gazetteer answers nearby searches offline, from a file of 264,000 named places that is built into the program.
// README.md lists the sources, licences and gaps of the data.
//
// [New] does no work. [Gazetteer.Load] does all the work once. After that, a query takes no locks and allocates only its
// response. The town of a place is looked up on first use and then cached.
//
// # Search
//
// Distances are great circles on a sphere with the mean radius of the earth, 6371008.8 m. A place at exactly the radius
// is a result. The index has cells of a quarter of a degree. Its results are identical to those of a full scan.
//
// # Ranking
//
// Results are ranked by prominence, as Google's are by default: a large town a little farther away comes before a hamlet
// next door. With d as the distance in metres,
//
//	prominence = weight / (1 + d/1000)
//	weight     = max(population, weight of the main type)
//
// The weights of the main types are in kind.go. They are in people: a neighborhood or railway station ranks like a town
// of 8,000, a museum or university like one of 15,000. Places of equal prominence are sorted by distance, then by id.
//
// The ranking uses integers, with distances in millimetres. So all servers return the same bytes, even if their processors
// round floating point numbers differently.
//
// # Fields of a result
//
//   - place_id is the id in the file. It is not a place id of Google's.
//   - vicinity is a town and its country's code, "Los Angeles, US". A locality is its own town. For any other place, it is
//     the populated locality within 30 km with the highest population / distance². For a campus 18 km from a city's
//     centre, that is the city, not a suburb 4 km away. Towns of other countries count only if there is none of the
//     place's own country. Without a town, vicinity is the country's code, or is omitted.
//   - plus_code is the Open Location Code of ten digits. The short form, relative to the town, is given if that town lies
//     within 0.3 degrees. The short form can be resolved within half a degree.
//   - viewport is a square around the location. Half its side is 10 m times the square root of the population, but at
//     least 500 m. Without a population, it is the size of the main type in kind.go.
//   - types are those in the file, from the Places API type tables.
package gazetteer
