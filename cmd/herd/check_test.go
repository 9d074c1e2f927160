package main

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

func TestNATSURLs(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		value    string
		urls     []string
		fault    string // a part of it
		redacted string
	}{
		{value: "", redacted: "(malformed)"}, // never shown
		{value: "127.0.0.1:4222", urls: []string{"nats://127.0.0.1:4222"}, redacted: "127.0.0.1:4222"},
		{value: "tls://a, wss://b:1", urls: []string{"tls://a", "wss://b:1"}, redacted: "tls://a,wss://b:1"},
		{value: "nats://u:p%2Cw@a", urls: []string{"nats://u:p%2Cw@a"}, redacted: "nats://xxxxx@a"}, // NATS splits at commas
		{value: "u:secret@a", urls: []string{"nats://u:secret@a"}, redacted: "xxxxx@a"},
		{value: "nats://u:secret,word@a", fault: "entry 1 of 2 is not a NATS URL", redacted: "(malformed)"},
		{value: "u:p@a,u:p@b", urls: []string{"nats://u:p@a", "nats://u:p@b"}, redacted: "xxxxx@a,xxxxx@b"},
		{value: "nats://u:1,secret@a", fault: "entry 2 of 2 is not a NATS URL", redacted: "(malformed)"},
		{value: "nats://u:1/secret@a", fault: "entry 1 of 1 is not a NATS URL", redacted: "(malformed)"},
		{value: "nats://u:1?secret@a", fault: "? as %3F", redacted: "(malformed)"},
		{value: "nats://u:1#secret@a", fault: "# as %23", redacted: "(malformed)"},
		{value: "nats://u:secret://p@a", fault: "entry 1 of 1 is not a NATS URL", redacted: "(malformed)"},
		{value: "nats://u:secret:1", fault: "entry 1 of 1 is not a NATS URL", redacted: "(malformed)"},
		{value: "nats://[::1]:4222", urls: []string{"nats://[::1]:4222"}, redacted: "nats://[::1]:4222"},
		{value: "nats://u:70000", fault: "entry 1 of 1 is not a NATS URL", redacted: "(malformed)"},
		{value: `"nats://u:secret@a"`, fault: "remove the quotes", redacted: "(malformed)"},
		{value: "http://u:secret@a", fault: "http://xxxxx@a: the scheme must be", redacted: "http://xxxxx@a"},
	} {
		var c checker
		if got := c.natsURLs("X", tt.value); tt.fault == "" && !slices.Equal(got, tt.urls) {
			t.Errorf("natsURLs(%q) = %q, want %q", tt.value, got, tt.urls)
		}
		var faults []string
		for _, err := range c.faults {
			faults = append(faults, err.Error())
		}
		if got := strings.Join(faults, "\n"); !strings.Contains(got, tt.fault) || tt.fault == "" && got != "" || strings.Contains(got, "secret") {
			t.Errorf("natsURLs(%q): faults %q, want %q in it, and no password", tt.value, got, tt.fault)
		}
		if got := redactNATSURLs(tt.value); got != tt.redacted {
			t.Errorf("redactNATSURLs(%q) = %q, want %q", tt.value, got, tt.redacted)
		}
	}
}

func TestNetworks(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		value, want string
		fault       string // a part of it
	}{
		{value: "off", want: "[]"},
		{value: "10.0.0.0/8, 192.168.1.7,2001:db8::/32,::1", want: "[10.0.0.0/8 192.168.1.7/32 2001:db8::/32 ::1/128]"},
		{value: "0.0.0.0/0", want: "[0.0.0.0/0]"},
		{value: "10.0.0.0/33", fault: `"10.0.0.0/33" is not a network`},
		{value: "on", fault: `"on" is not a network`},
		{value: "10.0.0.1/8", fault: "write 10.0.0.0/8, or the address alone"},
		{value: "::ffff:10.0.0.1", fault: "write it as IPv4"},
		{value: "fe80::1%eth0", fault: "is not a network"},
		{value: "10.0.0.0/8,,", fault: "has an empty entry"},
	} {
		var c checker
		got := fmt.Sprint(c.networks("X", tt.value))
		switch {
		case tt.fault == "" && (got != tt.want || len(c.faults) > 0):
			t.Errorf("networks(%q) = %s, %v, want %s", tt.value, got, c.faults, tt.want)
		case tt.fault != "" && (len(c.faults) == 0 || !strings.Contains(c.faults[0].Error(), tt.fault)):
			t.Errorf("networks(%q): faults %v, want %q in the first", tt.value, c.faults, tt.fault)
		}
	}
}

func TestPerSecond(t *testing.T) {
	t.Parallel()
	for value, want := range map[string]int{"100/s": 100, "100": 100, "0": 0, "0/s": 0, "1000000/s": 1_000_000} {
		var c checker
		if got := c.perSecond("X", value); got != want || len(c.faults) > 0 {
			t.Errorf("perSecond(%q) = %d, %v, want %d", value, got, c.faults, want)
		}
	}
	for _, value := range []string{"", "/s", "-1", "1.5", "100/m", "1000001", "100/s/s", "many"} {
		var c checker
		if c.perSecond("X", value); len(c.faults) != 1 {
			t.Errorf("perSecond(%q): faults %v, want one", value, c.faults)
		}
	}
}
