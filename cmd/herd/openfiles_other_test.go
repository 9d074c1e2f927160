//go:build !unix

package main

import "errors"

// setOpenFilesLimit works on Unix only.
func setOpenFilesLimit(uint64) error { return errors.ErrUnsupported }
