package plural

import "testing"

func TestPlural(t *testing.T) {
	t.Parallel()
	for want, got := range map[string]string{
		"0 records":      Count(0, "record"),
		"1 record":       Count(uint64(1), "record"),
		"2 records":      Count(int64(2), "record"),
		"1 of 1 server":  Of(1, 1, "server"),
		"1 of 3 servers": Of(1, 3, "server"),
		"0 of 0 servers": Of(0, 0, "server"),
		"is":             Form(1, "is", "are"),
		"are":            Form(0, "is", "are"),
		"record":         Noun(1, "record"),
	} {
		if got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
