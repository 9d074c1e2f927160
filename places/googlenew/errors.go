package googlenew

import (
	"encoding/json"
	"net/http"
	"strings"
	"time"

	"herd/places"
	"herd/places/google"
	"herd/places/internal/web"
)

// errorResponse is the body of the API's error responses.
type errorResponse struct {
	Error struct {
		Message string `json:"message"`
		Status  string `json:"status"`
		Details []struct {
			Reason   string            `json:"reason"`
			Metadata map[string]string `json:"metadata"`
		} `json:"details"`
	} `json:"error"`
}

// parseError translates an error response to the legacy API's status words.
func parseError(resp web.Response) *places.Error {
	e := resp.StatusError(service)
	var parsed errorResponse
	if err := json.Unmarshal(resp.Body, &parsed); err != nil || parsed.Error.Message == "" {
		return e // from a proxy, not from the API
	}
	e.Message = web.Truncate(parsed.Error.Message)
	switch resp.Code {
	case http.StatusBadRequest:
		if parsed.isBadKey() {
			e.Status = places.StatusRequestDenied
		}
	case http.StatusTooManyRequests:
		if parsed.isDailyQuota() {
			e.RetryAfter = time.Until(google.NextMidnight(time.Now()))
		}
	}
	return e
}

// isBadKey reports whether a 400 response rejects the key. The API has no HTTP code of its own for that.
func (r *errorResponse) isBadKey() bool {
	for _, d := range r.Error.Details {
		if strings.HasPrefix(d.Reason, "API_KEY_") {
			return true
		}
	}
	return strings.HasPrefix(r.Error.Message, "API key")
}

// isDailyQuota reports whether the quota that is used up is a daily one. It checks the name of the limit, or the message
// if there is no name.
func (r *errorResponse) isDailyQuota() bool {
	for _, d := range r.Error.Details {
		if limit := d.Metadata["quota_limit"]; limit != "" {
			return google.IsDailyQuota(limit)
		}
	}
	return google.IsDailyQuota(r.Error.Message)
}
