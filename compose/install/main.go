// Command install copies a directory, for an image build without a shell:
//
//	install FROM TO
//
// Everybody may read the copy, whatever the modes of the original.
package main

import (
	"fmt"
	"io/fs"
	"log"
	"os"
	"path/filepath"
)

func main() {
	if len(os.Args) != 3 {
		log.Fatal("usage: install FROM TO")
	}
	if err := install(os.Args[1], os.Args[2]); err != nil {
		log.Fatal(err)
	}
}

func install(from, to string) error {
	return filepath.WalkDir(from, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		target := filepath.Join(to, name)
		if entry.IsDir() {
			if err := os.MkdirAll(target, 0o755); err != nil {
				return err
			}
			return os.Chmod(target, 0o755) // MkdirAll applies the umask
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return fmt.Errorf("copy: %w", err)
		}
		if err := os.WriteFile(target, content, 0o644); err != nil {
			return err
		}
		return os.Chmod(target, 0o644)
	})
}
