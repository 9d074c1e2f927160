package node

import "testing"

func TestNeedsQuotes(t *testing.T) {
	for line, want := range map[string]bool{
		"AT A +0.000000000 kiwi +1+1 1": false,
		"na\u00efve \xff bytes":         false,
		"a \"quoted\" word":             false,
		"\"quoted\"":                    true, // or it could be taken for one of ours
		"tab\there":                     true,
		"nul\x00":                       true,
		"del\x7f":                       true,
		"\r":                            true,
	} {
		if got := needsQuotes([]byte(line)); got != want {
			t.Errorf("needsQuotes(%q) = %v, want %v", line, got, want)
		}
	}
}
