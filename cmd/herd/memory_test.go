package main

import (
	"errors"
	"log/slog"
	"math"
	"strings"
	"testing"

	"herd/node"
)

func TestParseBytes(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]int64{
		"1073741824": 1 << 30, "7": 7, "7B": 7, "300MiB": 300 << 20, "2GB": 2e9, "1KiB": 1024, "1KB": 1000, "3TiB": 3 << 40, "1TB": 1e12, "0007MB": 7e6,
		"8388607TiB": 8388607 << 40, "9223372036854775807": math.MaxInt64,
	} {
		if got, ok := parseBytes(text); !ok || got != want {
			t.Errorf("parseBytes(%q) = %d, %v, want %d", text, got, ok, want)
		}
	}
	for _, text := range []string{
		"", "MiB", "-1", "+1", "1.5GB", "1 GB", "1gb", "1M", "1m", "1iB", "1PiB", "0x10", "1e9", "1MiB2", "8388608TiB", "9223372036854775808",
	} {
		if got, ok := parseBytes(text); ok {
			t.Errorf("parseBytes(%q) = %d, want an error", text, got)
		}
	}
}

func TestSmallest(t *testing.T) {
	t.Parallel()
	source := func(name string, bytes uint64, err error) memorySource {
		return memorySource{name, func() (uint64, error) { return bytes, err }}
	}
	unset, failed := source("unset", math.MaxInt64, nil), source("failed", 7, errors.New("no limit"))
	for _, tt := range []struct {
		sources []memorySource
		want    uint64
		from    string
	}{
		{[]memorySource{source("a", 300, nil), source("b", 200, nil), source("c", 400, nil)}, 200, "b"},
		{[]memorySource{unset, failed, source("c", 400, nil)}, 400, "c"},
		{[]memorySource{source("none", 0, nil), source("c", 400, nil)}, 400, "c"},
		{[]memorySource{unset, failed}, 0, ""},
		{nil, 0, ""},
	} {
		if got, from := smallest(tt.sources...); got != tt.want || from != tt.from {
			t.Errorf("smallest(%v) = %d, %q, want %d, %q", tt.sources, got, from, tt.want, tt.from)
		}
	}
}

// TestMemorySources: the size of the machine's memory is known on every system that the
// tests run on, so there is a limit by default.
func TestMemorySources(t *testing.T) {
	t.Parallel()
	if bytes, from := smallest(memorySources...); bytes == 0 {
		t.Errorf("the memory is %d bytes, from %q", bytes, from)
	}
}

// TestLimitMaps: the default is shared among the servers of the process; HERD_MAX_MAP_BYTES
// is of each.
func TestLimitMaps(t *testing.T) {
	t.Parallel()
	servers := []*server{{name: "A"}, {name: "B"}}
	log := slog.New(slog.DiscardHandler)
	s := settings{limits: node.Limits{MapBytes: 1 << 30}}
	for n := 1; n <= 2; n++ {
		if got := s.limitMaps(log, servers[:n]); got != 1<<30 {
			t.Errorf("%d servers with HERD_MAX_MAP_BYTES: %d bytes each, want %d", n, got, 1<<30)
		}
	}
	one, two := settings{}.limitMaps(log, servers[:1]), settings{}.limitMaps(log, servers)
	if one <= 0 || two != one/2 {
		t.Errorf("by default one server has %d bytes, and two have %d each", one, two)
	}
}

// TestMapLimitByDefault: half of GOMEMLIMIT, if that is the smallest, is shared among the
// servers of the process, and the log says so.
func TestMapLimitByDefault(t *testing.T) {
	t.Parallel()
	h := startUp(t, "A-B", "GOMEMLIMIT=160MiB")
	text := h.stderr.String()
	for _, name := range []string{"A", "B"} {
		if line := `msg="limit of the map" memory=167772160 from=GOMEMLIMIT node=` + name + ` bytes=41943040`; strings.Count(text, line) != 1 {
			t.Errorf("the log has not one line %s:\n%s", line, text)
		}
	}
}
