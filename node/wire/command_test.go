package wire

import (
	"strings"
	"testing"
)

func TestParseCommandIAmAt(t *testing.T) {
	tests := []struct {
		name, line string
		want       bool
		time       Instant
	}{
		{"plain", "IAMAT kiwi +34.068930-118.445127 1621464827.959498503", true, Instant{1621464827, 959498503}},
		{"whole seconds", "IAMAT kiwi +34-118 1621464827", true, Instant{1621464827, 0}},
		{"fields separated by runs of all kinds of space", " \t\r\f\vIAMAT\v\v kiwi\f+34-118\r\t5 \r", true, Instant{5, 0}},
		{"wildcards in the client", "IAMAT *.> +34-118 5", true, Instant{5, 0}},
		{"raw bytes in the client", "IAMAT \x00\xff\xa0\x85 +34-118 5", true, Instant{5, 0}},
		{"NBSP is not space", "IAMAT\u00a0kiwi +34-118 5", false, Instant{}},
		{"NEL is not space", "IAMAT kiwi\u0085+34-118 5", false, Instant{}},
		{"a lone 0x85 is not space", "IAMAT kiwi\x85+34-118 5", false, Instant{}},
		{"lower case", "iamat kiwi +34-118 5", false, Instant{}},
		{"mixed case", "IAmAt kiwi +34-118 5", false, Instant{}},
		{"a field too few", "IAMAT kiwi +34-118", false, Instant{}},
		{"a field too many", "IAMAT kiwi +34-118 5 6", false, Instant{}},
		{"only the verb", "IAMAT", false, Instant{}},
		{"empty", "", false, Instant{}},
		{"blank", " \t", false, Instant{}},
		{"AT is for servers", "AT Goloman +0.1 kiwi +34-118 5", false, Instant{}},
		{"AT of four fields", "AT kiwi +34-118 5", false, Instant{}},

		{"north pole, date line", "IAMAT k +90-180 5", true, Instant{5, 0}},
		{"south pole", "IAMAT k -90.000+180.0 5", true, Instant{5, 0}},
		{"leading zeros", "IAMAT k +0034.5-00118.25 5", true, Instant{5, 0}},
		{"negative zero", "IAMAT k -0-0.0 5", true, Instant{5, 0}},
		{"latitude just over", "IAMAT k +90." + strings.Repeat("0", 40) + "1-118 5", false, Instant{}},
		{"latitude with many zeros", "IAMAT k +90." + strings.Repeat("0", 40) + "-118 5", true, Instant{5, 0}},
		{"latitude over", "IAMAT k +91-118 5", false, Instant{}},
		{"longitude over", "IAMAT k +34-180.1 5", false, Instant{}},
		{"huge latitude", "IAMAT k +" + strings.Repeat("9", 400) + "-118 5", false, Instant{}},
		{"latitude that overflows 64 bits", "IAMAT k +18446744073709551616-118 5", false, Instant{}},
		{"degrees and minutes", "IAMAT k +3406.1-11826.7 5", false, Instant{}},
		{"no sign before latitude", "IAMAT k 34-118 5", false, Instant{}},
		{"no longitude", "IAMAT k +34 5", false, Instant{}},
		{"longitude without digits", "IAMAT k +34- 5", false, Instant{}},
		{"two signs", "IAMAT k +-34-118 5", false, Instant{}},
		{"solidus", "IAMAT k +34-118/ 5", false, Instant{}},
		{"altitude", "IAMAT k +34-118+10 5", false, Instant{}},
		{"point without digits after", "IAMAT k +34.-118 5", false, Instant{}},
		{"longitude point without digits", "IAMAT k +34-118. 5", false, Instant{}},
		{"point without digits before", "IAMAT k +.5-118 5", false, Instant{}},
		{"exponent", "IAMAT k +3e1-118 5", false, Instant{}},
		{"hex", "IAMAT k +0x1-118 5", false, Instant{}},
		{"comma", "IAMAT k +34,5-118 5", false, Instant{}},
		{"underscore", "IAMAT k +3_4-118 5", false, Instant{}},
		{"inf", "IAMAT k +inf-118 5", false, Instant{}},

		{"time zero", "IAMAT k +34-118 0", true, Instant{0, 0}},
		{"time 18 digits", "IAMAT k +34-118 999999999999999999.999999999", true, Instant{999999999999999999, 999999999}},
		{"time 19 digits", "IAMAT k +34-118 1000000000000000000", false, Instant{}},
		{"time 19 digits with zeros", "IAMAT k +34-118 0000000000000000005", false, Instant{}},
		{"time ten decimals", "IAMAT k +34-118 5.0000000019", true, Instant{5, 1}},
		{"time one decimal", "IAMAT k +34-118 5.5", true, Instant{5, 500000000}},
		{"time signed", "IAMAT k +34-118 +5", false, Instant{}},
		{"time negative", "IAMAT k +34-118 -5", false, Instant{}},
		{"time point last", "IAMAT k +34-118 5.", false, Instant{}},
		{"time point first", "IAMAT k +34-118 .5", false, Instant{}},
		{"time two points", "IAMAT k +34-118 5.5.5", false, Instant{}},
		{"time exponent", "IAMAT k +34-118 1e3", false, Instant{}},
		{"time nan", "IAMAT k +34-118 nan", false, Instant{}},
		{"time with a letter in the decimals", "IAMAT k +34-118 5.00000000000x", false, Instant{}},
		{"time full-width digits", "IAMAT k +34-118 \uff15", false, Instant{}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := ParseCommand([]byte(tt.line))
			if got := c.Verb == IAmAt; got != tt.want {
				t.Fatalf("ParseCommand(%q) is IAMAT = %v, want %v", tt.line, got, tt.want)
			}
			if c.Time != tt.time {
				t.Errorf("ParseCommand(%q).Time = %v, want %v", tt.line, c.Time, tt.time)
			}
		})
	}
}

func TestParseCommandWhatsAt(t *testing.T) {
	tests := []struct {
		line   string
		want   bool
		radius float64
		bound  int
	}{
		{"WHATSAT kiwi 10 5", true, 10, 5},
		{"WHATSAT kiwi 0 0", true, 0, 0},
		{"WHATSAT kiwi 50 20", true, 50, 20},
		{"WHATSAT kiwi 50.000 020", true, 50, 20},
		{"WHATSAT kiwi 0.25 1", true, 0.25, 1},
		{"WHATSAT kiwi 50." + strings.Repeat("0", 30) + "1 1", false, 0, 0},
		{"WHATSAT kiwi 51 1", false, 0, 0},
		{"WHATSAT kiwi 10 21", false, 0, 0},
		{"WHATSAT kiwi 10 5.0", false, 0, 0},
		{"WHATSAT kiwi 10 99999999999999999999", false, 0, 0},
		{"WHATSAT kiwi +10 5", false, 0, 0},
		{"WHATSAT kiwi -10 5", false, 0, 0},
		{"WHATSAT kiwi 10 -5", false, 0, 0},
		{"WHATSAT kiwi 10 +5", false, 0, 0},
		{"WHATSAT kiwi 10. 5", false, 0, 0},
		{"WHATSAT kiwi .5 5", false, 0, 0},
		{"WHATSAT kiwi 1e1 5", false, 0, 0},
		{"WHATSAT kiwi 0x10 5", false, 0, 0},
		{"WHATSAT kiwi 10km 5", false, 0, 0},
		{"WHATSAT kiwi 10 5x", false, 0, 0},
		{"WHATSAT kiwi 10", false, 0, 0},
		{"WHATSAT kiwi 10 5 5", false, 0, 0},
		{"whatsat kiwi 10 5", false, 0, 0},
	}
	for _, tt := range tests {
		c := ParseCommand([]byte(tt.line))
		if got := c.Verb == WhatsAt; got != tt.want || c.Radius != tt.radius || c.Bound != tt.bound {
			t.Errorf("ParseCommand(%q) = WHATSAT %v, %v km, %d, want %v, %v km, %d",
				tt.line, got, c.Radius, c.Bound, tt.want, tt.radius, tt.bound)
		}
	}
}

func TestAppendInvalid(t *testing.T) {
	if got, want := string(AppendInvalid([]byte("x"), []byte(" a\x00\xff\r"))), "x?  a\x00\xff\r\n"; got != want {
		t.Errorf("AppendInvalid = %q, want %q", got, want)
	}
}
