package places

// Response is an answer in the format of Google's Nearby Search: the part of it that herd's own sources fill. Its JSON
// tags fit encoding/json, for reading; Append writes the layout that Google writes.
type Response struct {
	ErrorMessage     string   `json:"error_message,omitempty"`
	HTMLAttributions []string `json:"html_attributions"` // what must be shown with the results, as HTML
	Results          []Place  `json:"results"`           // most prominent first
	Items            [][]byte `json:"-"`                 // further results, as Place.Item gives them
	Status           string   `json:"status"`            // one of Google's status words
}

// Place is one result. A field that is empty, or a struct of zeroes, is left out of the JSON, but for the location,
// name and place id.
type Place struct {
	BusinessStatus      string   `json:"business_status,omitempty"` // such as OPERATIONAL
	Geometry            Geometry `json:"geometry"`
	Icon                string   `json:"icon,omitempty"`                  // URL of a picture
	IconBackgroundColor string   `json:"icon_background_color,omitempty"` // such as #7B9EB0
	IconMaskBaseURI     string   `json:"icon_mask_base_uri,omitempty"`    // URL of a picture, less its .svg or .png
	Name                string   `json:"name"`
	OpeningHours        *Hours   `json:"opening_hours,omitempty"`
	PlaceID             string   `json:"place_id"` // opaque, stable for its source
	PlusCode            PlusCode `json:"plus_code,omitzero"`
	PriceLevel          *int     `json:"price_level,omitempty"` // 0, free, to 4
	Rating              float64  `json:"rating,omitempty"`      // 1 to 5
	Reference           string   `json:"reference,omitempty"`   // the place id, once more
	Types               []string `json:"types,omitempty"`       // of the Places API type tables, the main one first
	UserRatingsTotal    int      `json:"user_ratings_total,omitempty"`
	Vicinity            string   `json:"vicinity,omitempty"`
}

// Geometry says where a place is and what a map of it should show.
type Geometry struct {
	Location LatLng   `json:"location"`
	Viewport Viewport `json:"viewport,omitzero"`
}

// LatLng is a point in WGS 84 degrees, latitude within 90 and longitude within 180.
type LatLng struct {
	Lat float64 `json:"lat"`
	Lng float64 `json:"lng"`
}

// Viewport is a box between two parallels and two meridians. One that crosses the antimeridian has a southwest
// longitude greater than the northeast one.
type Viewport struct {
	Northeast LatLng `json:"northeast"`
	Southwest LatLng `json:"southwest"`
}

// Hours says whether a place is open as the answer is given.
type Hours struct {
	OpenNow bool `json:"open_now"`
}

// PlusCode is a place's Open Location Code: the short form with the town it is relative to, and the full form.
type PlusCode struct {
	CompoundCode string `json:"compound_code,omitempty"` // such as "3H93+HX Los Angeles, US"
	GlobalCode   string `json:"global_code,omitempty"`   // such as "85633H93+HX"
}
