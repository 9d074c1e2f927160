package places

// Response is a response in the format of Google's Nearby Search, with the fields that herd's own sources fill.
// Append encodes it in Google's layout. The JSON tags are for decoding with encoding/json.
type Response struct {
	ErrorMessage     string   `json:"error_message,omitempty"`
	HTMLAttributions []string `json:"html_attributions"` // HTML that must be shown with the results
	Results          []Place  `json:"results"`           // most prominent first
	EncodedResults   [][]byte `json:"-"`                 // appended after Results; from Place.EncodeResult
	Status           string   `json:"status"`            // one of Google's status words
}

// Place is one result. The JSON omits fields with a zero value, except for the location, name and place id.
type Place struct {
	BusinessStatus      string   `json:"business_status,omitempty"` // for example OPERATIONAL
	Geometry            Geometry `json:"geometry"`
	Icon                string   `json:"icon,omitempty"`                  // URL of an image
	IconBackgroundColor string   `json:"icon_background_color,omitempty"` // for example #7B9EB0
	IconMaskBaseURI     string   `json:"icon_mask_base_uri,omitempty"`    // URL of an image, without the suffix .svg or .png
	Name                string   `json:"name"`
	OpeningHours        *Hours   `json:"opening_hours,omitempty"`
	PlaceID             string   `json:"place_id"` // opaque; stable within one source
	PlusCode            PlusCode `json:"plus_code,omitzero"`
	PriceLevel          *int     `json:"price_level,omitempty"` // 0 (free) to 4
	Rating              float64  `json:"rating,omitempty"`      // 1 to 5
	Reference           string   `json:"reference,omitempty"`   // the place id again
	Types               []string `json:"types,omitempty"`       // from the Places API type tables, the main type first
	UserRatingsTotal    int      `json:"user_ratings_total,omitempty"`
	Vicinity            string   `json:"vicinity,omitempty"`
}

// Geometry is the position of a place and the map section that shows it.
type Geometry struct {
	Location LatLng   `json:"location"`
	Viewport Viewport `json:"viewport,omitzero"`
}

// LatLng is a point in WGS 84 degrees, within ±90 and ±180.
type LatLng struct {
	Lat float64 `json:"lat"`
	Lng float64 `json:"lng"`
}

// Viewport is a box between two parallels and two meridians. If it crosses the antimeridian, its southwest longitude is
// greater than its northeast longitude.
type Viewport struct {
	Northeast LatLng `json:"northeast"`
	Southwest LatLng `json:"southwest"`
}

// Hours says whether a place is open at the time of the response.
type Hours struct {
	OpenNow bool `json:"open_now"`
}

// PlusCode is a place's Open Location Code, in its full form and in its short form relative to a town.
type PlusCode struct {
	CompoundCode string `json:"compound_code,omitempty"` // for example "3H93+HX Los Angeles, US"
	GlobalCode   string `json:"global_code,omitempty"`   // for example "85633H93+HX"
}
