//go:build !linux

package journal

import "os"

// dataSync waits until the file's content and size are on the disk.
func dataSync(f *os.File) error { return f.Sync() }
