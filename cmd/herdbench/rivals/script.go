package rivals

import (
	"context"
	"embed"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"herd/cmd/internal/freeport"
)

//go:embed asyncio_protocols.py asyncio_streams.py node_herd.js
var sources embed.FS

// script is a herd in another language. Each server is a process, started as
//
//	runtime source NAME NAME=HOST:PORT… -- NEIGHBOUR…
//
// It prints "ready" once it listens and is connected to its neighbours.
type script struct {
	name    string
	runtime string
	source  string
	batched bool
}

func (s script) Name() string { return s.name }

func (s script) Start(ctx context.Context, lab *Lab) (System, error) {
	runtime, err := exec.LookPath(s.runtime)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", s.runtime, ErrMissing)
	}
	text, err := sources.ReadFile(s.source)
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp(lab.Dir, "script")
	if err != nil {
		return nil, err
	}
	file := filepath.Join(dir, s.source)
	if err := os.WriteFile(file, text, 0o600); err != nil {
		return nil, err
	}
	names := lab.Graph.Servers()
	addresses, err := freeport.Addresses(len(names))
	if err != nil {
		return nil, err
	}
	var where []string
	for i, name := range names {
		where = append(where, name+"="+addresses[i])
	}
	l := &lines{addresses: addresses}
	var env []string
	if s.batched {
		env = []string{"BATCHED=1"}
	}
	for _, name := range names {
		args := append([]string{file, name}, where...)
		args = append(append(args, "--"), lab.Graph.Neighbours(name)...)
		p, err := start(ctx, env, runtime, args...)
		if err != nil {
			l.Stop()
			return nil, err
		}
		l.processes = append(l.processes, p)
	}
	for _, p := range l.processes {
		if err := p.awaitOutput(ctx, "ready"); err != nil {
			l.Stop()
			return nil, fmt.Errorf("%s: %w", strings.TrimSuffix(s.source, filepath.Ext(s.source)), err)
		}
	}
	return l, nil
}
