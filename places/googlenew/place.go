package googlenew

import (
	"encoding/json"
	"errors"
	"html"
	"strings"

	"herd/places"
)

// place is a place in the API's format. The API omits zero values.
type place struct {
	ID          string `json:"id"`
	DisplayName struct {
		Text string `json:"text"`
	} `json:"displayName"`
	Location latLng `json:"location"`
	Viewport struct {
		Low  latLng `json:"low"`
		High latLng `json:"high"`
	} `json:"viewport"`
	ShortFormattedAddress string   `json:"shortFormattedAddress"`
	Types                 []string `json:"types"`
	BusinessStatus        string   `json:"businessStatus"`
	PlusCode              struct {
		GlobalCode   string `json:"globalCode"`
		CompoundCode string `json:"compoundCode"`
	} `json:"plusCode"`
	IconMaskBaseURI     string        `json:"iconMaskBaseUri"`
	IconBackgroundColor string        `json:"iconBackgroundColor"`
	Attributions        []attribution `json:"attributions"`

	Rating              float64 `json:"rating"`
	UserRatingCount     int     `json:"userRatingCount"`
	PriceLevel          string  `json:"priceLevel"`
	CurrentOpeningHours *struct {
		OpenNow *bool `json:"openNow"`
	} `json:"currentOpeningHours"`
}

type latLng struct {
	Latitude  float64 `json:"latitude"`
	Longitude float64 `json:"longitude"`
}

func (l latLng) legacy() places.LatLng { return places.LatLng{Lat: l.Latitude, Lng: l.Longitude} }

// attribution names a source of a place's data other than Google.
type attribution struct {
	Provider    string `json:"provider"`
	ProviderURI string `json:"providerUri"`
}

func (a attribution) html() string {
	name := html.EscapeString(a.Provider)
	if !strings.HasPrefix(a.ProviderURI, "https://") && !strings.HasPrefix(a.ProviderURI, "http://") {
		return name
	}
	return `<a href="` + html.EscapeString(a.ProviderURI) + `">` + name + `</a>`
}

// priceLevels maps price levels to the numbers of the legacy format. PRICE_LEVEL_UNSPECIFIED has no number.
var priceLevels = map[string]int{
	"PRICE_LEVEL_FREE": 0, "PRICE_LEVEL_INEXPENSIVE": 1, "PRICE_LEVEL_MODERATE": 2, "PRICE_LEVEL_EXPENSIVE": 3,
	"PRICE_LEVEL_VERY_EXPENSIVE": 4,
}

// legacy translates p to the legacy format.
func (p *place) legacy() places.Place {
	l := places.Place{
		BusinessStatus: p.BusinessStatus,
		Geometry: places.Geometry{
			Location: p.Location.legacy(),
			Viewport: places.Viewport{Northeast: p.Viewport.High.legacy(), Southwest: p.Viewport.Low.legacy()},
		},
		IconBackgroundColor: p.IconBackgroundColor,
		IconMaskBaseURI:     p.IconMaskBaseURI,
		Name:                p.DisplayName.Text,
		PlaceID:             p.ID,
		PlusCode:            places.PlusCode{CompoundCode: p.PlusCode.CompoundCode, GlobalCode: p.PlusCode.GlobalCode},
		Rating:              p.Rating,
		Reference:           p.ID,
		Types:               p.Types,
		UserRatingsTotal:    p.UserRatingCount,
		Vicinity:            p.ShortFormattedAddress,
	}
	if p.IconMaskBaseURI != "" {
		l.Icon = p.IconMaskBaseURI + ".png"
	}
	if level, ok := priceLevels[p.PriceLevel]; ok {
		l.PriceLevel = &level
	}
	if p.CurrentOpeningHours != nil && p.CurrentOpeningHours.OpenNow != nil {
		l.OpeningHours = &places.Hours{OpenNow: *p.CurrentOpeningHours.OpenNow}
	}
	return l
}

// decode parses a response body. It must be an object with places or an empty object, which means no places.
func decode(body []byte) (list []place, err error) {
	var object map[string]json.RawMessage
	if err := json.Unmarshal(body, &object); err != nil {
		return nil, err
	}
	value, ok := object["places"]
	switch {
	case ok:
		err = json.Unmarshal(value, &list)
	case object == nil || len(object) > 0:
		err = errors.New("no key places")
	}
	return list, err
}
