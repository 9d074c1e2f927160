// Command mkdir creates directories and their parents, for an image build without a shell.
package main

import (
	"log"
	"os"
)

func main() {
	for _, path := range os.Args[1:] {
		if err := os.MkdirAll(path, 0o700); err != nil {
			log.Fatal(err)
		}
	}
}
