package googlenew_test

import (
	"net/url"
	"testing"

	"herd/places"
	"herd/places/googlenew"
	"herd/places/placestest"
)

func FuzzResponse(f *testing.F) {
	placestest.FuzzResponses(f, func(base *url.URL) places.Source {
		return googlenew.New(googlenew.Config{Base: base, Key: placestest.Key, Agent: "herd/test", Ratings: true})
	}, []placestest.Override{
		placestest.GoogleNewBadKey, placestest.GoogleNewBadRequest, placestest.GoogleNewForbidden, placestest.GoogleNewMinuteQuota,
		placestest.GoogleNewDailyQuota, placestest.GoogleNewUnavailable,
	}, placestest.GoogleNewPlaces(3), placestest.GoogleNewPlaces(7), `{}`, `{"places": []}`, `{"error": {"message": "Caf"}}`)
}
