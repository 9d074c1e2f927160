package overpass

import "slices"

// placeKeys are the OpenStreetMap keys that make a feature a place, most specific first.
var placeKeys = []string{"aeroway", "railway", "tourism", "amenity", "leisure", "shop", "historic"}

// googleTypes maps key=value to types of Google's tables. The value "" stands for all values of a key that are not listed.
// A feature without an entry has the generic types only.
var googleTypes = map[string]map[string][]string{
	"aeroway": {
		"aerodrome": {"airport"}, "terminal": {"airport"},
	},
	"railway": {
		"station": {"train_station", "transit_station"}, "halt": {"train_station", "transit_station"},
		"tram_stop": {"light_rail_station", "transit_station"}, "subway_entrance": {"subway_station", "transit_station"},
	},
	"tourism": {
		"hotel": {"lodging"}, "hostel": {"lodging"}, "motel": {"lodging"}, "guest_house": {"lodging"}, "apartment": {"lodging"},
		"chalet": {"lodging"}, "alpine_hut": {"lodging"}, "camp_site": {"campground", "lodging"},
		"caravan_site": {"rv_park", "lodging"}, "museum": {"museum"}, "gallery": {"art_gallery"}, "zoo": {"zoo"},
		"aquarium": {"aquarium"}, "theme_park": {"amusement_park"}, "": {"tourist_attraction"},
	},
	"amenity": {
		"restaurant": {"restaurant", "food"}, "fast_food": {"meal_takeaway", "restaurant", "food"}, "cafe": {"cafe", "food"},
		"ice_cream": {"food", "store"}, "food_court": {"restaurant", "food"}, "bar": {"bar"}, "pub": {"bar"}, "biergarten": {"bar"},
		"nightclub": {"night_club"}, "casino": {"casino"}, "cinema": {"movie_theater"}, "bank": {"bank", "finance"},
		"atm": {"atm", "finance"}, "pharmacy": {"pharmacy", "health", "store"}, "hospital": {"hospital", "health"},
		"clinic": {"doctor", "health"}, "doctors": {"doctor", "health"}, "dentist": {"dentist", "health"},
		"veterinary": {"veterinary_care"}, "school": {"school"}, "university": {"university"}, "college": {"university"},
		"library": {"library"}, "place_of_worship": {"place_of_worship"}, "townhall": {"city_hall", "local_government_office"},
		"courthouse": {"courthouse"}, "embassy": {"embassy"}, "police": {"police"}, "fire_station": {"fire_station"},
		"post_office": {"post_office"}, "fuel": {"gas_station"}, "car_wash": {"car_wash"}, "car_rental": {"car_rental"},
		"parking": {"parking"}, "taxi": {"taxi_stand"}, "bus_station": {"bus_station", "transit_station"},
		"grave_yard": {"cemetery"}, "gym": {"gym"},
	},
	"leisure": {
		"park": {"park"}, "garden": {"park"}, "nature_reserve": {"park"}, "fitness_centre": {"gym", "health"},
		"sports_centre": {"gym"}, "stadium": {"stadium"}, "bowling_alley": {"bowling_alley"}, "water_park": {"amusement_park"},
	},
	"shop": {
		"supermarket": {"supermarket", "grocery_or_supermarket", "store"}, "convenience": {"convenience_store", "store"},
		"greengrocer": {"grocery_or_supermarket", "store"}, "bakery": {"bakery", "food", "store"},
		"alcohol": {"liquor_store", "store"}, "clothes": {"clothing_store", "store"}, "shoes": {"shoe_store", "store"},
		"jewelry": {"jewelry_store", "store"}, "books": {"book_store", "store"}, "electronics": {"electronics_store", "store"},
		"furniture": {"furniture_store", "store"}, "hardware": {"hardware_store", "store"},
		"doityourself": {"hardware_store", "home_goods_store", "store"}, "florist": {"florist", "store"},
		"bicycle": {"bicycle_store", "store"}, "car": {"car_dealer", "store"}, "car_repair": {"car_repair"},
		"department_store": {"department_store", "store"}, "mall": {"shopping_mall"}, "pet": {"pet_store", "store"},
		"hairdresser": {"hair_care"}, "beauty": {"beauty_salon"}, "laundry": {"laundry"}, "travel_agency": {"travel_agency"},
		"estate_agent": {"real_estate_agency"}, "": {"store"},
	},
	"historic": {"": {"tourist_attraction"}},
}

// railwayLines are values of railway=* for lines. They have names but are not places to visit.
var railwayLines = map[string]bool{"rail": true, "light_rail": true, "subway": true, "tram": true, "narrow_gauge": true, "monorail": true,
	"funicular": true, "abandoned": true, "disused": true, "construction": true, "proposed": true, "razed": true}

// worshipTypes maps religion=* to the type of a place of worship.
var worshipTypes = map[string]string{"christian": "church", "muslim": "mosque", "hindu": "hindu_temple", "jewish": "synagogue"}

// types returns Google's types for a feature with these tags, most specific first. It returns nil if the feature is not
// a place.
func types(tags map[string]string) (list []string) {
	isPlace := false
	for _, key := range placeKeys {
		value := tags[key]
		if value == "" || value == "no" || key == "railway" && railwayLines[value] {
			continue
		}
		isPlace = true
		words, ok := googleTypes[key][value]
		if !ok {
			words = googleTypes[key][""]
		}
		if t := worshipTypes[tags["religion"]]; value == "place_of_worship" && t != "" {
			words = append([]string{t}, words...)
		}
		for _, w := range words {
			if !slices.Contains(list, w) {
				list = append(list, w)
			}
		}
	}
	if !isPlace {
		return nil
	}
	return append(list, "point_of_interest", "establishment")
}
