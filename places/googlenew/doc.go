// Package googlenew queries Nearby Search of Google's Places API (New) and translates its responses to the legacy
// format. New Google Cloud projects can enable only this API.
//
//	id → place_id, reference          shortFormattedAddress → vicinity
//	displayName.text → name           types → types
//	location, viewport → geometry     businessStatus → business_status
//	plusCode → plus_code              iconMaskBaseUri → icon_mask_base_uri, and with .png → icon
//	attributions → html_attributions  iconBackgroundColor → icon_background_color
//
// The following fields make a request more expensive. They are requested only with Config.Ratings:
//
//	rating → rating                   priceLevel → price_level, 0 to 4
//	userRatingCount → user_ratings_total
//	currentOpeningHours.openNow → opening_hours.open_now
//
// The first entry of html_attributions names Google Maps as the source of the data. An empty object is ZERO_RESULTS.
//
// HTTP 429 is OVER_QUERY_LIMIT. 403 and a bad key are REQUEST_DENIED, any other 400 is INVALID_REQUEST, and 5xx is
// UNKNOWN_ERROR.
//
// The key is sent in a header. As with the legacy API, do not put a cache around this source.
package googlenew
