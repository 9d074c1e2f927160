// Command probe exits with 0 when an HTTP server answers a GET of its one argument, a
// URL, with 200, and else with 1: the health check of a container that has no other
// program to ask with.
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
		return fmt.Errorf("%d arguments, not one URL", len(args))
	}
	client := http.Client{Timeout: 2 * time.Second}
	reply, err := client.Get(args[0])
	if err != nil {
		return err
	}
	defer reply.Body.Close()
	if reply.StatusCode != http.StatusOK {
		return fmt.Errorf("%s says %s", args[0], reply.Status)
	}
	return nil
}
