package main

import (
	"context"
	"log/slog"

	"herd/node/opshttp"
	"herd/places/stack"
)

// manyConns is how many connections are enough for somebody who has not set HERD_MAX_CONNS.
const manyConns = 1000

// limitConns limits the clients' connections of each server, so that the process does not
// run out of file descriptors: NATS, the journals, the logs, the operators' HTTP and the
// sources of places must go on when clients use up theirs. It logs if that is less than
// HERD_MAX_CONNS: a warning, unless nobody has set that and there is room for manyConns. It
// returns the limit for each server; 0 if none is needed.
// pageFiles are those of its page.
func (s settings) limitConns(log *slog.Logger, servers, pageFiles int) (files int) {
	limit, known := openFilesLimit()
	if !known {
		return 0
	}
	webServices := 0
	for _, source := range s.places.Sources {
		if source.Name != stack.Gazetteer {
			webServices++
		}
	}
	files = clientFiles(limit, servers, webServices, pageFiles)
	if files >= s.limits.Conns {
		return 0
	}
	level := slog.LevelWarn
	if s.defaultConns && files >= manyConns {
		level = slog.LevelInfo
	}
	log.Log(context.Background(), level, "HERD_MAX_CONNS is more than the limit of open files allows: further clients wait, so raise that limit (ulimit -n)",
		"HERD_MAX_CONNS", s.limits.Conns, "open_files", limit, "client_connections", files)
	return files
}

// clientFiles is the number of file descriptors for the clients of each server, at least
// 1, of a process that may open limit files.
func clientFiles(limit uint64, servers, webServices, pageFiles int) int {
	const (
		perProcess    = 16 + opshttp.MaxConnections // standard streams, listeners and the runtime; operators
		perServer     = 16                          // the listener, NATS (both ends with herd up), the journal, the traffic log
		perWebService = 100                         // its connections at most, but not more than a quarter of all for places
	)
	limit = min(limit, 1<<31-1)
	reserve := perProcess + min(uint64(pageFiles), limit/4) + perServer*uint64(servers) + min(perWebService*uint64(webServices), limit/4)
	if limit < reserve {
		return 1
	}
	return max(1, int(limit-reserve)/servers)
}
