package overpass

import "slices"

// keys of OpenStreetMap that make a feature a place, the most telling first.
var keys = []string{"aeroway", "railway", "tourism", "amenity", "leisure", "shop", "historic"}

// googleTypes are the words of Google's type tables for key=value, where there are any. Of a key of keys that is not
// here, any value is a place without a type of its own; "" stands for its values that are not here.
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

// lines are named, but nowhere to go to.
var lines = map[string]bool{"rail": true, "light_rail": true, "subway": true, "tram": true, "narrow_gauge": true, "monorail": true,
	"funicular": true, "abandoned": true, "disused": true, "construction": true, "proposed": true, "razed": true}

// churches by religion=*.
var churches = map[string]string{"christian": "church", "muslim": "mosque", "hindu": "hindu_temple", "jewish": "synagogue"}

// types are Google's words for what tags describe, the most telling first; none for what is no place.
func types(tags map[string]string) (list []string) {
	place := false
	for _, key := range keys {
		value := tags[key]
		if value == "" || value == "no" || key == "railway" && lines[value] {
			continue
		}
		place = true
		words, ok := googleTypes[key][value]
		if !ok {
			words = googleTypes[key][""]
		}
		if church := churches[tags["religion"]]; value == "place_of_worship" && church != "" {
			words = append([]string{church}, words...)
		}
		for _, w := range words {
			if !slices.Contains(list, w) {
				list = append(list, w)
			}
		}
	}
	if !place {
		return nil
	}
	return append(list, "point_of_interest", "establishment")
}
