// Command mkdir makes directories, with those above them: for an image that is built
// without a shell.
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
