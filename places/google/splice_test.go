package google

import (
	"encoding/json"
	"reflect"
	"testing"

	"herd/places/placestest"
)

// FuzzSplice compares cutting bytes with decoding the body and shortening the list.
func FuzzSplice(f *testing.F) {
	for _, layout := range []placestest.Layout{placestest.CompactArrays, placestest.ExpandedArrays} {
		f.Add([]byte(placestest.GoogleResponse(layout, "1", "2", 3)), 2)
		f.Add([]byte(placestest.GoogleResponse(layout, "1", "2", 0)), 2)
	}
	f.Add([]byte(placestest.GoogleError("REQUEST_DENIED", "x")), 1)
	f.Add([]byte(`{"results":[{"results":[{},{}]} , {"]":"[{"}],"status":"OK","error_message":"x"} `), 1)
	f.Fuzz(func(t *testing.T, body []byte, bound int) {
		bound = max(0, min(bound, 20))
		l, err := scan(body)
		if err != nil {
			return
		}
		if !json.Valid(body) {
			t.Fatalf("scan(%q) accepts invalid JSON", body)
		}
		var want, got map[string]any
		if err := json.Unmarshal(body, &want); err != nil {
			t.Fatal(err)
		}
		if list, ok := want["results"].([]any); ok && len(list) > bound {
			want["results"] = list[:bound]
		}
		cut := l.cut(body, bound)
		if err := json.Unmarshal(cut, &got); err != nil {
			t.Fatalf("cut(%d): %v: %q", bound, err, cut)
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("cut(%d) = %q, of %q", bound, cut, body)
		}
	})
}
