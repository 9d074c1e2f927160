// Package gazetteer answers nearby searches offline, from the file of 264 thousand named places that is built into the
// program. README.md says where they come from, under which licences, and what is missing.
//
// [New] costs nothing, [Gazetteer.Load] does all the work once, and from then on a query takes no locks, and allocates
// its answer and nothing else. Which town a place belongs to is found when it is first wanted, and kept.
//
// # What is near
//
// Distances are great circles on a sphere with the mean radius of the earth, 6371008.8 m. Places at exactly the radius
// are in. A cell index of a quarter of a degree says where to look; the answer is the same as that of looking
// everywhere.
//
// # What comes first
//
// Results are ranked by prominence, as Google's are unless told otherwise: a large town a little farther away comes
// before a hamlet next door. With d the distance in metres,
//
//	prominence = weight / (1 + d/1000)
//	weight     = the greater of the population and the weight of the main type
//
// where the weights, in people, are those of the table in kind.go: a neighborhood or railway station draws as a town of
// 8,000 does, a museum or university as one of 15,000. Equal prominence is settled by distance, then
// by id. All of it is computed in whole numbers (distances in millimetres), so that every server of a herd gives the
// same bytes, whatever its processor makes of the last bit of a float.
//
// # What a result says
//
//   - place_id is the id in the file. It is nobody else's place id.
//   - vicinity is the town and its country's code, "Los Angeles, US": for a locality the place itself, else the
//     populated locality within 30 km with the strongest pull, population / distance². That is the nearest one when
//     distances are measured in the towns' own sizes: on a campus 18 km from the middle of a city it is the city and
//     not the suburb 4 km away. A town of another country counts only where there is none of the place's own. Without
//     any it is the country alone, or is left out.
//   - plus_code is the Open Location Code of ten digits; its compound form, relative to the vicinity's town, is given
//     where that town lies within 0.3 degrees, well inside the half degree up to which it can be read back.
//   - viewport is a square around the location. Half its side is 10 m times the square root of the population, 500 m
//     at least, or the size of the main type in kind.go where there is no population.
//   - types are the file's, words of the Places API type tables.
package gazetteer
