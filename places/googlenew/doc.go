// Package googlenew asks Nearby Search of Google's Places API (New), and puts its answers in the format of the legacy
// one. New projects can switch on this API only.
//
//	id → place_id, reference          shortFormattedAddress → vicinity
//	displayName.text → name           types → types
//	location, viewport → geometry     businessStatus → business_status
//	plusCode → plus_code              iconMaskBaseUri → icon_mask_base_uri, and with .png → icon
//	attributions → html_attributions  iconBackgroundColor → icon_background_color
//
// and where they are switched on, since they raise what a question costs:
//
//	rating → rating                   priceLevel → price_level, 0 to 4
//	userRatingCount → user_ratings_total
//	currentOpeningHours.openNow → opening_hours.open_now
//
// html_attributions begin with Google Maps, so that it can be told whose data it is. An empty object is ZERO_RESULTS.
// Of failures, HTTP 429 is OVER_QUERY_LIMIT, 403 and a bad key are REQUEST_DENIED, any other 400 is INVALID_REQUEST and
// 5xx UNKNOWN_ERROR.
//
// The key travels in a header. As with the legacy API there is to be no cache in front of this source.
package googlenew
