//go:build !unix

package main

// openFilesLimit is not known here.
func openFilesLimit() (limit uint64, known bool) { return 0, false }
