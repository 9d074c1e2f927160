package google

import (
	"net/url"
	"testing"

	"herd/places"
	"herd/places/placestest"
)

func FuzzResponse(f *testing.F) {
	placestest.FuzzResponses(f, func(base *url.URL) places.Source {
		return New(Config{Base: base, Key: placestest.Key, Agent: "herd/test"})
	}, nil,
		placestest.GoogleResponse(placestest.CompactArrays, "1", "2", 3), placestest.GoogleResponse(placestest.ExpandedArrays, "1", "2", 7),
		placestest.GoogleResponse(placestest.ExpandedArrays, "1", "2", 0), placestest.GoogleError("REQUEST_DENIED", "Caf "+placestest.GoogleBadKey),
		placestest.GoogleError("OVER_QUERY_LIMIT", placestest.GoogleDailyQuota))
}
