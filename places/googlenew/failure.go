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

// trouble is how the API says what is wrong.
type trouble struct {
	Error struct {
		Message string `json:"message"`
		Status  string `json:"status"`
		Details []struct {
			Reason   string            `json:"reason"`
			Metadata map[string]string `json:"metadata"`
		} `json:"details"`
	} `json:"error"`
}

// failure puts an answer that is none into the legacy API's words.
func failure(reply web.Reply) *places.Error {
	e := reply.Failure(service)
	var said trouble
	if err := json.Unmarshal(reply.Body, &said); err != nil || said.Error.Message == "" {
		return e // not the API itself, but something before it
	}
	e.Message = web.Clip(said.Error.Message)
	switch reply.Code {
	case http.StatusBadRequest:
		if said.badKey() {
			e.Status = places.StatusRequestDenied
		}
	case http.StatusTooManyRequests:
		if said.daily() {
			e.Wait = time.Until(google.Midnight(time.Now()))
		}
	}
	return e
}

// badKey tells whether a 400 is one for the key: the API has no code of its own for it.
func (t *trouble) badKey() bool {
	for _, d := range t.Error.Details {
		if strings.HasPrefix(d.Reason, "API_KEY_") {
			return true
		}
	}
	return strings.HasPrefix(t.Error.Message, "API key")
}

// daily tells whether the quota that is used up is one of a day. The limit's name says so, and where there is none, the
// message.
func (t *trouble) daily() bool {
	for _, d := range t.Error.Details {
		if limit := d.Metadata["quota_limit"]; limit != "" {
			return google.Daily(limit)
		}
	}
	return google.Daily(t.Error.Message)
}
