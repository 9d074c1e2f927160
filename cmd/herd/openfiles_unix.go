//go:build unix

package main

import "syscall"

// openFilesLimit is how many files the process may open at the same time. Go's runtime has
// raised the soft limit to the hard one.
func openFilesLimit() (limit uint64, known bool) {
	var l syscall.Rlimit
	if syscall.Getrlimit(syscall.RLIMIT_NOFILE, &l) != nil {
		return 0, false
	}
	return uint64(l.Cur), true
}
