// Command probe is the health check of a container that has no shell and no HTTP client.
// It requests the URL in its only argument. It exits with status 0 if the response is
// 200 OK, otherwise with 1.
package main

import (
	"fmt"
	"net/http"
	"os"
	"time"
)

func main() {
	if err := probe(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "probe:", err)
		os.Exit(1)
	}
}

func probe(args []string) error {
	if len(args) != 1 {
		return fmt.Errorf("got %d arguments, want one URL", len(args))
	}
	client := http.Client{Timeout: 2 * time.Second}
	reply, err := client.Get(args[0])
	if err != nil {
		return err
	}
	defer reply.Body.Close()
	if reply.StatusCode != http.StatusOK {
		return fmt.Errorf("get %s: status %s", args[0], reply.Status)
	}
	return nil
}
