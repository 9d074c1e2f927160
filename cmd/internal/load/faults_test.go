package load

import (
	"encoding/json"
	"strings"
	"testing"
	"time"
)

// TestLies: each kind of lie is noticed, and said.
func TestLies(t *testing.T) {
	t.Parallel()
	replace := func(old, new string) func(int, string, string) (string, bool) {
		return func(n int, _, reply string) (string, bool) {
			if n == 500 {
				return strings.Replace(reply, old, new, 1), true
			}
			return reply, true
		}
	}
	lastDigit := func(reply string, to string) string { return reply[:len(reply)-2] + to + "\n" }
	var held string
	for _, tt := range []struct {
		name   string
		change func(*Config)
		lie    func(n int, server, reply string) (string, bool)
		want   string // in the text of the report or of the fault
	}{
		{"another client", nil, replace("t.", "T."), "999 right, 1 wrong"},
		{"another time", nil, func(n int, _, reply string) (string, bool) {
			if n == 500 {
				reply = lastDigit(reply, "x")
			}
			return reply, true
		}, "999 right, 1 wrong"},
		{"another server's name", nil, replace("AT A", "AT B"), "999 right, 1 wrong"},
		{"no name", nil, func(_ int, _, reply string) (string, bool) { return strings.Replace(reply, "AT A", "AT .", 1), true }, "gave up after 1"},
		{"a difference without its sign", nil, replace(" +0.", " 0."), "999 right, 1 wrong"},
		{"a difference with few decimals", nil, replace("+0.0", "+0."), "999 right, 1 wrong"},
		{"zero with a minus", nil, replace("+0.000000500", "-0.000000000"), "999 right, 1 wrong"},
		{"a leading zero", nil, replace("+0.", "+00."), "999 right, 1 wrong"},
		{"a space too many", nil, replace("AT A ", "AT A  "), "999 right, 1 wrong"},
		{"refused", nil, func(n int, _, reply string) (string, bool) {
			if n == 500 {
				reply = "? no\n"
			}
			return reply, true
		}, `"? no\n"`},
		{"swapped", nil, func(n int, _, reply string) (string, bool) {
			switch n {
			case 500:
				held = reply
				return "", true
			case 501:
				return reply + held, true
			}
			return reply, true
		}, "998 right, 2 wrong"},
		{"one is missing", nil, func(n int, _, reply string) (string, bool) {
			if n == 500 {
				reply = ""
			}
			return reply, true
		}, "gave up after 1"},
		{"the last is missing", func(c *Config) { c.Patience = time.Second }, func(n int, _, reply string) (string, bool) {
			if n == 1000 {
				reply = ""
			}
			return reply, true
		}, "no reply within 1s; unanswered commands on the connection: 1\n"},
		{"one too many", nil, func(n int, _, reply string) (string, bool) {
			if n == 1000 {
				reply += "hello\n"
			}
			return reply, true
		}, `"hello\n"`},
		{"closes early", nil, func(n int, _, reply string) (string, bool) { return reply, n != 500 }, "499 right, 0 wrong"},
		{"never answers", func(c *Config) { c.Patience = time.Second }, func(n int, _, reply string) (string, bool) {
			if n > 0 {
				reply = ""
			}
			return reply, true
		}, "no reply within 1s; unanswered commands on the connection: 16\n"},
		{"never answers at a rate", func(c *Config) { c.Patience = time.Second; c.Rate = 1e5; c.Count = 5 },
			func(int, string, string) (string, bool) { return "", true }, "no reply within 1s"},
		{"no end of a line", nil, func(n int, _, reply string) (string, bool) {
			if n == 500 {
				reply = strings.Repeat("x", 1<<20)
			}
			return reply, true
		}, "a reply of more than"},
		{"an answer that is no object", func(c *Config) { c.Asks = 0.5 }, func(n int, _, reply string) (string, bool) {
			return strings.Replace(reply, "{", "[", 1), true
		}, "gave up after 1"},
		{"an answer of another record", func(c *Config) { c.Asks = 0.5 }, func(n int, _, reply string) (string, bool) {
			if n == 500 { // a WHATSAT
				reply = strings.Replace(reply, "AT A +0.000000", "AT A +0.000001", 1)
			}
			return reply, true
		}, "999 right, 1 wrong"},

		// After the load; n is 0 then.
		{"a record lost at another server", func(c *Config) { c.Settle = 50 * time.Millisecond }, func(n int, server, reply string) (string, bool) {
			if server == "B" && strings.Contains(reply, " t.3 ") {
				reply = "? WHATSAT t.3 0 0\n"
			}
			return reply, true
		}, "records lost: 1"},
		{"a record differing", func(c *Config) { c.Settle = 50 * time.Millisecond }, func(n int, server, reply string) (string, bool) {
			if server == "B" && strings.Contains(reply, " t.3 ") {
				reply = strings.Replace(reply, "AT A", "AT B", 1)
			}
			return reply, true
		}, "0 lost, 1 differing, 0 late"},
		{"which is a fault", func(c *Config) { c.Settle = 50 * time.Millisecond }, func(n int, server, reply string) (string, bool) {
			if server == "B" && strings.Contains(reply, " t.3 ") {
				reply = strings.Replace(reply, "AT A", "AT B", 1)
			}
			return reply, true
		}, "records differing: 1"},
		{"not replicated", func(c *Config) { c.Settle, c.Check = 50*time.Millisecond, 0 }, func(n int, server, reply string) (string, bool) {
			if server == "B" {
				reply = strings.Replace(reply, "AT A", "AT B", 1)
			}
			return reply, true
		}, "did not reach every server"},
		{"the other server goes away", nil, func(n int, server, reply string) (string, bool) { return reply, server != "B" }, "reading a record: EOF"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			h := &herd{lie: tt.lie}
			cfg := small(h.listen(t, "A", "B")...)
			if tt.change != nil {
				tt.change(&cfg)
			}
			r := mustRun(t, cfg)
			err := r.Fault()
			if err == nil {
				t.Fatalf("not noticed:\n%s", r.Text())
			}
			if text := r.Text() + err.Error(); !strings.Contains(text, tt.want) {
				t.Errorf("%s\nhas no %q", text, tt.want)
			}
			if !json.Valid(must(json.Marshal(&r))) {
				t.Error("no JSON")
			}
		})
	}
}
