package main

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"

	"herd/node"
	"herd/places/stack"
)

func TestClientFiles(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		limit                      uint64
		servers, webServices, want int
	}{
		{40, 1, 0, 8},
		{20, 1, 0, 1},
		{20, 5, 2, 1},
		{1024, 1, 0, 992},
		{1024, 1, 1, 892},
		{1024, 1, 3, 736},
		{1024, 5, 0, 185},
		{1<<63 - 1, 1, 0, 1<<31 - 1 - 32},
		{1<<64 - 1, 5, 3, (1<<31 - 1 - 96 - 300) / 5},
	} {
		if got := clientFiles(tt.limit, tt.servers, tt.webServices); got != tt.want {
			t.Errorf("clientFiles(%d, %d, %d) = %d, want %d", tt.limit, tt.servers, tt.webServices, got, tt.want)
		}
	}
}

// TestLimitConns: there is a limit and a warning only if HERD_MAX_CONNS is more than the
// limit of open files allows.
func TestLimitConns(t *testing.T) {
	t.Parallel()
	limit, known := openFilesLimit()
	if !known {
		t.Skip("the limit of open files is not known here")
	}
	files := clientFiles(limit, 1, 0)
	for conns, want := range map[int]int{files - 1: 0, files: 0, files + 1: files} {
		var log bytes.Buffer
		s := settings{limits: node.Limits{Conns: conns}, places: stack.Config{Sources: []stack.Source{{Name: stack.Gazetteer}}}}
		if got := s.limitConns(slog.New(slog.NewTextHandler(&log, nil)), 1); got != want {
			t.Errorf("HERD_MAX_CONNS=%d: the limit is %d, want %d", conns, got, want)
		}
		if warned := strings.Contains(log.String(), "level=WARN"); warned != (want > 0) {
			t.Errorf("HERD_MAX_CONNS=%d: the log is %q", conns, log.String())
		}
	}
}
