//go:build unix

package main

import "syscall"

// setOpenFilesLimit limits how many files this process may open at the same time.
func setOpenFilesLimit(limit uint64) error {
	return syscall.Setrlimit(syscall.RLIMIT_NOFILE, &syscall.Rlimit{Cur: limit, Max: limit})
}
