package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
)

// groups are the processes whose time is measured, by the name of their group.
func (m measurement) groups(load *exec.Cmd) map[string]func(pid int, program string) bool {
	return map[string]func(int, string) bool{
		"browser": func(_ int, program string) bool {
			return strings.HasPrefix(program, "chrom") || strings.HasPrefix(program, "google-chrome")
		},
		"herd": func(pid int, _ string) bool { return pid == m.herd.PID() },
		"load": func(pid int, _ string) bool { return pid == load.Process.Pid },
	}
}

// cpuOf is the seconds of processor time that groups of processes have used. It is empty without /proc.
func cpuOf(groups map[string]func(pid int, program string) bool) map[string]float64 {
	const ticks = 100 // a second, on every Linux
	used := map[string]float64{}
	files, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, file := range files {
		stat, err := os.ReadFile(file)
		if err != nil {
			continue // it has ended
		}
		// pid (program) state ppid … utime and stime are the 12th and 13th after the program.
		open, end := strings.Index(string(stat), "("), strings.LastIndex(string(stat), ")")
		fields := strings.Fields(string(stat[end+1:]))
		pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(file)))
		for name, has := range groups {
			if has(pid, string(stat[open+1:end])) && len(fields) > 12 {
				user, _ := strconv.ParseFloat(fields[11], 64)
				system, _ := strconv.ParseFloat(fields[12], 64)
				used[name] += (user + system) / ticks
			}
		}
	}
	return used
}

// share is how many processors a group has used on average.
func share(before, after map[string]float64, name string, seconds float64) string {
	if len(after) == 0 {
		return "?"
	}
	return fmt.Sprintf("%.2f", (after[name]-before[name])/seconds)
}
