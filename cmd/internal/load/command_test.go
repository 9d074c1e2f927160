package load

import (
	"strings"
	"testing"
)

func TestValidate(t *testing.T) {
	bad := Config{Addresses: []string{"nowhere", "h:1", "h:1"}, Connections: 5, Clients: 2, Name: "a b", Asks: 2, Rate: -1, Settle: -1}
	err := bad.Validate()
	for _, want := range []string{`"nowhere"`, "h:1 is listed twice", "pipeline", "too few", "count", "name", "WHATSAT", "rate", "duration", "patience", "settle"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Validate = %v, which has no %q", err, want)
		}
	}
	if err := small("h:1").Validate(); err != nil {
		t.Errorf("Validate = %v", err)
	}
}

func TestCommands(t *testing.T) {
	l := newFormat("x", 1000)
	line := make([]byte, l.length)
	l.write(line, command{client: 42, place: 1, stamp: 1621464827_059498503})
	if want := "IAMAT x.042 " + places[1] + " 1621464827.059498503\n"; string(line) != want {
		t.Errorf("%q, want %q", line, want)
	}
	if got, want := string(l.appendFields([]byte("-"), command{client: 42, place: 1, stamp: 5, ask: true})), "-x.042 "+places[1]+" 0000000000.000000005"; got != want {
		t.Errorf("fields %q, want %q", got, want)
	}
	l.write(line, command{client: 42, ask: true})
	if got := string(line); strings.TrimRight(got, " \n") != "WHATSAT x.042 0 0" || !strings.HasSuffix(got, " \n") {
		t.Errorf("%q", got)
	}
	for _, p := range places {
		if len(p) != placeLength {
			t.Errorf("place %q", p)
		}
	}
}

func TestDifference(t *testing.T) {
	for text, want := range map[string]int{
		"+0.000000000 x": 12, "-0.000000001": 12, "+12.345678901": 13, "-173850870.358627238 ": 20,
		"": 0, "0.000000000": 0, "x0.000000000": 0, "-0.000000000": 0, "+.000000000": 0, "+0.00000000": 0, "+0,000000000": 0,
		"+00.000000000": 0, "+0.0000000x0": 0, "+": 0, "+1": 0, "+0.00000000 ": 0,
	} {
		if got := differenceLength([]byte(text)); got != want {
			t.Errorf("differenceLength(%q) = %d, want %d", text, got, want)
		}
	}
}
