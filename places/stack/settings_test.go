package stack

import (
	"strings"
	"testing"
)

func TestParseURLs(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		value, names string
		want         string // "source url" pairs in the order of names; or
		fault        string // a part of the error
	}{
		{value: "", names: "google"},
		{value: "https://example.org/x", names: "gazetteer,overpass", want: "overpass https://example.org/x"},
		{value: "https://example.org", names: "gazetteer"},
		{value: " overpass=https://u:p%2Cw@a:8080 , google=http://b/c=d ", names: "google,overpass", want: "google http://b/c=d overpass https://u:p,w@a:8080"},
		{value: "google=https://u:%2C%2F%3F%23%40@a", names: "google", want: "google https://u:,%2F%3F%23%40@a"},

		{value: "https://a", names: "google,overpass", fault: "which of google, overpass it is for: write overpass=https://…"},
		{value: "google=https://a,google=https://b", names: "google", fault: "google is listed twice"},
		{value: "google=https://a", names: "overpass", fault: "google is not listed in HERD_PLACES"},
		{value: "https://a?key=secret", names: "google", fault: "https://a has a query or a fragment"},
		{value: "https://a#secret", names: "gazetteer", fault: "has a query or a fragment"},
		{value: "ftp://a", names: "google", fault: "not a URL such as https://example.org"},
		{value: "https://", names: "google", fault: "not a URL such as"},
		{value: "http://a,http://b", names: "google", fault: "entry 1 of 2 is not of the form overpass=https://example.org"},
		{value: "google=https://a,atlas=https://secret", names: "google", fault: "entry 2 of 2"},
		{value: "google=https://u:sec,ret@a", names: "google", fault: "write a comma as %2C"},
		{value: "google=https://u:sec/ret@a", names: "google", fault: "/ as %2F"},
		{value: "google=https://u:1/secret@a", names: "google", fault: "/ as %2F"},
	} {
		names, err := ParseNames(tt.names)
		if err != nil {
			t.Fatal(err)
		}
		urls, err := ParseURLs(tt.value, names)
		var got []string
		for _, name := range names {
			if u := urls[name]; u != nil && err == nil {
				got = append(got, name, u.String())
			}
		}
		if joined := strings.Join(got, " "); joined != tt.want {
			t.Errorf("ParseURLs(%q, %s) = %q, want %q", tt.value, tt.names, joined, tt.want)
		}
		switch {
		case tt.fault == "" && err != nil:
			t.Errorf("ParseURLs(%q, %s): %v", tt.value, tt.names, err)
		case tt.fault != "" && (err == nil || !strings.Contains(err.Error(), tt.fault)):
			t.Errorf("ParseURLs(%q, %s): error %v, want %q in it", tt.value, tt.names, err, tt.fault)
		case err != nil && strings.Contains(err.Error(), "secret"):
			t.Errorf("ParseURLs(%q, %s): error %v shows a secret", tt.value, tt.names, err)
		}
	}
}

func TestRedactURLs(t *testing.T) {
	t.Parallel()
	for value, want := range map[string]string{
		"https://example.org/api":                            "https://example.org/api",
		"https://user:pass@a":                                "https://xxxxx@a",
		"https://user@a:8080/b%2Fc":                          "https://xxxxx@a:8080/b%2Fc",
		"https://user:pa%2Css@a":                             "https://xxxxx@a",
		"https://a/?key=secret":                              "https://a/",
		"https://a/#secret":                                  "https://a/",
		"google=https://u:p@a, overpass=https://u:p%2Cp@b/x": "google=https://xxxxx@a,overpass=https://xxxxx@b/x",
		"google=https://a?key=secret,overpass=https://b":     "google=https://a,overpass=https://b",
		"ftp://user:pass@a":                                  "(malformed)",
		"https://user:pass:/word":                            "(malformed)",
		"https://[::1]:8080/x":                               "https://[::1]:8080/x",
	} {
		if got := RedactURLs(value); got != want {
			t.Errorf("RedactURLs(%q) = %q, want %q", value, got, want)
		}
	}
	// A password that is not escaped, in every place, with every special character.
	for _, special := range []string{",", "/", "?", "#", "@", ":", "%", " ", "=", ",google=", ", overpass=", ",https://", "\n", "\\", "[", "]"} {
		for _, format := range []string{"https://u:FIRST%SECOND@a", "https://u:1%SECOND@a", "google=https://u:FIRST%SECOND@a,overpass=https://u:FIRST%SECOND@b"} {
			value := strings.ReplaceAll(format, "%", special)
			if got := RedactURLs(value); strings.Contains(got, "FIRST") || strings.Contains(got, "SECOND") {
				t.Errorf("RedactURLs(%q) = %q shows a part of the password", value, got)
			}
			for _, names := range [][]string{{Google}, {Google, Overpass}} {
				if _, err := ParseURLs(value, names); err != nil && (strings.Contains(err.Error(), "FIRST") || strings.Contains(err.Error(), "SECOND")) {
					t.Errorf("ParseURLs(%q): %v shows a part of the password", value, err)
				}
			}
		}
	}
}
