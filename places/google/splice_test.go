package google

import (
	"encoding/json"
	"reflect"
	"testing"

	"herd/places/placestest"
)

// FuzzSplice holds cutting bytes against decoding and cutting the list.
func FuzzSplice(f *testing.F) {
	for _, dialect := range []placestest.Dialect{placestest.OneLine, placestest.ItemALine} {
		f.Add([]byte(placestest.GooglePlaces(dialect, "1", "2", 3)), 2)
		f.Add([]byte(placestest.GooglePlaces(dialect, "1", "2", 0)), 2)
	}
	f.Add([]byte(placestest.GoogleError("REQUEST_DENIED", "x")), 1)
	f.Add([]byte(`{"results":[{"results":[{},{}]} , {"]":"[{"}],"status":"OK","error_message":"x"} `), 1)
	f.Fuzz(func(t *testing.T, body []byte, bound int) {
		bound = max(0, min(bound, 20))
		a, err := read(body)
		if err != nil {
			return
		}
		if !json.Valid(body) {
			t.Fatalf("read(%q) took what is no JSON", body)
		}
		var want, got map[string]any
		if err := json.Unmarshal(body, &want); err != nil {
			t.Fatal(err)
		}
		if list, ok := want["results"].([]any); ok && len(list) > bound {
			want["results"] = list[:bound]
		}
		cut := a.cut(body, bound)
		if err := json.Unmarshal(cut, &got); err != nil {
			t.Fatalf("cut to %d: %v: %q", bound, err, cut)
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("cut to %d: %q of %q", bound, cut, body)
		}
	})
}
