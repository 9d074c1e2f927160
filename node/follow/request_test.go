package follow

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
)

func TestParse(t *testing.T) {
	t.Parallel()
	for _, valid := range []string{
		"", " \n", "{}", `{"clients":["kiwi","a/b"]}`, `{"prefix":"bus/"}`, `{"near":{"lat":1,"lon":-180,"km":0}}`,
		`{"box":{"south":-90,"west":170,"north":90,"east":-170},"interval":"10ms"}`, `{"interval":"1m0s"}`,
		`{"clients_base64":["//8="],"prefix_base64":"/w=="}`,
	} {
		if _, err := Parse([]byte(valid)); err != nil {
			t.Errorf("Parse(%s) = %v", valid, err)
		}
	}
	for invalid, want := range map[string]string{
		`[]`:                                                          "JSON",
		`{"client":["kiwi"]}`:                                         `"client"`,
		`{} {}`:                                                       "more than one",
		`{"clients":[]}`:                                              "empty",
		`{"clients_base64":[]}`:                                       "empty",
		`{"clients_base64":["?"]}`:                                    "JSON",
		`{"clients_base64":["IA=="]}`:                                 "clients", // a space
		`{"prefix":"a","prefix_base64":"/w"}`:                         "JSON",
		`{"prefix":"a","prefix_base64":"/w=="}`:                       "exclude",
		`{"prefix_base64":"IA=="}`:                                    "prefix",
		`{"clients":["a b"]}`:                                         "clients",
		`{"clients":[""]}`:                                            "clients",
		`{"prefix":"a\n"}`:                                            "prefix",
		`{"near":{"lat":1,"lon":2}}`:                                  `"km" is missing`,
		`{"near":{"lat":1,"lon":2,"m":2}}`:                            `"m"`,
		`{"near":{"lat":91,"lon":2,"km":2}}`:                          "latitude 91",
		`{"near":{"lat":1,"lon":181,"km":2}}`:                         "longitude 181",
		`{"near":{"lat":1,"lon":2,"km":-1}}`:                          "radius",
		`{"box":{"south":2,"west":1,"north":1,"east":1}}`:             "south 2",
		`{"box":{"south":1,"west":1,"north":1}}`:                      `"east" is missing`,
		`{"box":{"south":1,"west":1,"north":1,"east":200}}`:           "longitudes",
		`{"box":{"south":-91,"west":1,"north":1,"east":20}}`:          "latitudes",
		`{"interval":"9ms"}`:                                          "interval",
		`{"interval":"61s"}`:                                          "interval",
		`{"interval":"soon"}`:                                         "interval",
		`{"clients":[` + strings.Repeat(`"a",`, MaxClients) + `"a"]}`: "more than",
		`{"clients":["` + strings.Repeat("a", 300_000) + `"]}`:        "clients",
	} {
		if _, err := Parse([]byte(invalid)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Parse(%.80s) = %v, want an error with %q", invalid, err, want)
		}
	}
}

// FuzzParse: a request that is accepted stays the same when it is written and parsed again.
func FuzzParse(f *testing.F) {
	for _, seed := range []string{
		``, `{}`, `{"clients":["kiwi"],"prefix":"k","interval":"100ms"}`, `{"near":{"lat":1.5,"lon":-180,"km":1e3}}`,
		`{"box":{"south":-90,"west":170,"north":90,"east":-170}}`, `{"near":{"lat":91,"lon":0}}`, `{"clients":["\ud800"]}`, `null`,
		`{"clients_base64":["//8="],"prefix_base64":""}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := Parse(data)
		if err != nil {
			return
		}
		if err := r.Check(); err != nil {
			t.Fatalf("Parse accepts what Check does not: %v", err)
		}
		NewFilter(r).Named([]byte("kiwi"))
		written, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		if again, err := Parse(written); err != nil || !reflect.DeepEqual(again, r) {
			t.Fatalf("Parse(%s) = %+v, %v, want %+v", written, again, err, r)
		}
	})
}
