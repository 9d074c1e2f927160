package main

import (
	"log/slog"
	"math"
	"runtime/debug"
	"strconv"
	"strings"

	"github.com/KimMachineGun/automemlimit/memlimit"
)

// limitMaps limits the memory of each server's map to HERD_MAX_MAP_BYTES, or else to its
// share of half of the process's memory: the other half is for connections, queues,
// messages and garbage. It logs the limit of each of the servers. It returns 0, which is
// no limit, if the memory is not known.
func (s settings) limitMaps(log *slog.Logger, servers []*server) int64 {
	limit := s.limits.MapBytes
	if limit == 0 {
		memory, from := smallest(memorySources...)
		if memory == 0 {
			log.Warn("the size of the memory is not known, so maps have no limit in bytes: set HERD_MAX_MAP_BYTES")
			return 0
		}
		limit = max(1, int64(memory/2)/int64(len(servers)))
		log = log.With("memory", memory, "from", from)
	}
	for _, s := range servers {
		log.Info("limit of the map", "node", s.name, "bytes", limit)
	}
	return limit
}

// memorySource is something that limits the memory of the process.
type memorySource struct {
	name  string
	bytes memlimit.Provider
}

// memorySources are read only: nothing here sets GOMEMLIMIT. memlimit knows both versions of
// cgroups, in containers and nested, and the memory of machines that are not Linux.
var memorySources = []memorySource{
	{"GOMEMLIMIT", func() (uint64, error) { return uint64(debug.SetMemoryLimit(-1)), nil }}, // math.MaxInt64 if unset
	{"cgroup", memlimit.FromCgroup},
	{"machine", memlimit.FromSystem},
}

// smallest is the smallest of the limits that are known, and its name; 0 for none. A
// cgroup without a limit, and a system without cgroups, are errors to memlimit.
func smallest(sources ...memorySource) (bytes uint64, name string) {
	bytes = math.MaxInt64
	for _, s := range sources {
		if limit, err := s.bytes(); err == nil && limit > 0 && limit < bytes {
			bytes, name = limit, s.name
		}
	}
	if name == "" {
		return 0, ""
	}
	return bytes, name
}

var byteUnits = map[string]int64{
	"": 1, "B": 1,
	"KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40,
	"KB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12,
}

// parseBytes parses a number of bytes, with or without a unit: 300MiB, 2GB, 1073741824.
// Units are those of GOMEMLIMIT, and KB, MB, GB and TB, which are powers of 1000.
func parseBytes(text string) (int64, bool) {
	unit := strings.TrimLeft(text, "0123456789")
	n, err := strconv.ParseInt(strings.TrimSuffix(text, unit), 10, 64)
	factor, known := byteUnits[unit]
	if err != nil || !known || n > math.MaxInt64/factor {
		return 0, false
	}
	return n * factor, true
}
