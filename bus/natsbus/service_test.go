package natsbus

import "testing"

// TestServiceVersion: the service has the version of the program, as micro services write it.
func TestServiceVersion(t *testing.T) {
	t.Parallel()
	for main, want := range map[string]string{
		"":        "0.0.0",
		"(devel)": "0.0.0",
		"v1.2.3":  "1.2.3",
		"v0.0.0-20261127080000-abcdefabcdef+dirty": "0.0.0-20261127080000-abcdefabcdef+dirty",
	} {
		if got := serviceVersion(main); got != want {
			t.Errorf("serviceVersion(%q) = %q, want %q", main, got, want)
		}
	}
}
