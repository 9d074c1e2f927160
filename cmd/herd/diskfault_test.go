//go:build linux

package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"time"

	"herd/bus/topology"
)

// diskFaults are faults of the disk that a server's journal is on.
func diskFaults(name string) []fault {
	var strace *exec.Cmd
	var ballast string
	return []fault{
		{fmt.Sprintf("flushes of %s take 2s for 10s", name), 10 * time.Second,
			func(h *herdProcesses) {
				if _, err := exec.LookPath("strace"); err != nil {
					h.t.Skip("skipped: strace is not installed, so a slow disk is not tested")
				}
				h.journal(name, "sync", h.t.TempDir())
			},
			func(h *herdProcesses) {
				strace = exec.Command("strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=fsync,fdatasync",
					"-e", "inject=fsync,fdatasync:delay_enter=2000000", "-p", fmt.Sprint(h.servers[name].cmd.Process.Pid))
				if err := strace.Start(); err != nil {
					h.t.Fatal(err)
				}
			},
			func(h *herdProcesses) {
				strace.Process.Signal(os.Interrupt) // detaches
				strace.Wait()
			},
			"journal slow, replies wait"},
		{fmt.Sprintf("%s' disk full for 5s", name), 5 * time.Second,
			func(h *herdProcesses) {
				dir := h.t.TempDir()
				if err := syscall.Mount("none", dir, "tmpfs", 0, "size=256m"); err != nil {
					h.t.Skipf("skipped: a file system cannot be mounted (%v), so a full disk is not tested", err)
				}
				h.t.Cleanup(func() {
					if h.servers[name] != nil {
						h.servers[name].cmd.Process.Kill()
						<-h.servers[name].ended
					}
					if err := syscall.Unmount(dir, 0); err != nil {
						h.t.Errorf("unmount %s: %v", dir, err)
					}
				})
				ballast = filepath.Join(dir, "ballast")
				h.journal(name, "ack", dir)
			},
			func(h *herdProcesses) {
				f, err := os.Create(ballast)
				if err != nil {
					h.t.Fatal(err)
				}
				defer f.Close()
				if _, err := io.Copy(f, endless{}); !errors.Is(err, syscall.ENOSPC) {
					h.t.Fatalf("filling the disk: %v, want ENOSPC", err)
				}
			},
			func(h *herdProcesses) {
				if err := os.Remove(ballast); err != nil {
					h.t.Fatal(err)
				}
			},
			"the journal fails"},
	}
}

// endless is a reader of zeros.
type endless struct{}

func (endless) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

// journal gives a server a journal in a directory.
func (h *herdProcesses) journal(name, mode, dir string) {
	h.env[name] = append(h.env[name], "HERD_JOURNAL="+mode, "HERD_DATA_DIR="+dir)
}

// configurationFaults are changes that an operator makes while the herd runs, and takes back.
func configurationFaults(e topology.Edge) []fault {
	var file string
	topologyOf := func(h *herdProcesses, without string) {
		var edges strings.Builder
		for _, e := range h.graph.Edges() {
			if edge := e.A + "-" + e.B; edge != without {
				fmt.Fprintln(&edges, edge)
			}
		}
		if err := os.WriteFile(file, []byte(edges.String()), 0o600); err != nil {
			h.t.Fatal(err)
		}
	}
	hangUp := func(h *herdProcesses) {
		for _, p := range h.servers {
			p.signal(syscall.SIGHUP)
		}
	}
	var brokerConf string // without a limit
	limit := func(h *herdProcesses, payload string) {
		text := "max_payload: " + payload + "\n" + brokerConf
		if err := os.WriteFile(h.brokerConf, []byte(text), 0o600); err != nil {
			h.t.Fatal(err)
		}
	}
	edge := e.A + "-" + e.B
	return []fault{
		{fmt.Sprintf("the topology lacks %s for 5s", edge), 5 * time.Second,
			func(h *herdProcesses) {
				file = filepath.Join(h.t.TempDir(), "topology")
				topologyOf(h, "")
				h.spec = file
			},
			func(h *herdProcesses) { topologyOf(h, edge); hangUp(h) },
			func(h *herdProcesses) { topologyOf(h, ""); hangUp(h) },
			"topology changed"},
		{"broker with a max_payload of 4 KB for 5s", 5 * time.Second,
			func(h *herdProcesses) {
				if h.brokerConf == "" {
					h.brokerConf = filepath.Join(h.t.TempDir(), "nats.conf")
				} else if text, err := os.ReadFile(h.brokerConf); err != nil {
					h.t.Fatal(err)
				} else {
					brokerConf = regexp.MustCompile(`(?m)^max_payload:.*\n`).ReplaceAllString(string(text), "")
				}
				limit(h, "1MB")
			},
			func(h *herdProcesses) { limit(h, "4KB"); h.broker.signal(syscall.SIGHUP) },
			func(h *herdProcesses) { limit(h, "1MB"); h.broker.signal(syscall.SIGHUP) },
			""},
	}
}
