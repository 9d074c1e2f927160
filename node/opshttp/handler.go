// Package opshttp is HTTP for the operators of one process and the servers in it: health,
// readiness, metrics and profiles.
package opshttp

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"herd/bus/printable"
	"herd/node"
)

// oneByOne handles one request at a time. Others wait: collecting metrics takes a processor,
// which clients need, too. A client that does not read its response does not delay others.
func oneByOne(handler http.Handler) http.Handler {
	turn := make(chan struct{}, 1)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		select {
		case turn <- struct{}{}:
		case <-r.Context().Done():
			return
		}
		response := buffered{header: w.Header(), status: http.StatusOK}
		func() {
			defer func() { <-turn }()
			handler.ServeHTTP(&response, r)
		}()
		w.WriteHeader(response.status)
		w.Write(response.body.Bytes()) // an error: the client is gone
	})
}

// buffered keeps a response.
type buffered struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (b *buffered) Header() http.Header         { return b.header }
func (b *buffered) WriteHeader(status int)      { b.status = status }
func (b *buffered) Write(p []byte) (int, error) { return b.body.Write(p) }

// Server is a server of the process: a node.Node, or what stands for one after the other.
type Server interface {
	Name() string
	Ready() error
	Stats() node.Stats
}

// Page is a page of the process for browsers.
type Page interface {
	http.Handler
	// Guard returns a handler that refuses requests for hosts that the page refuses.
	Guard(http.Handler) http.Handler
}

// Handler serves
//
//   - /healthz: 200 while the process lives;
//   - /readyz: 200 when all servers are ready, else 503 and the reasons,
//     one a line;
//   - /metrics: what metrics gathers, for Prometheus;
//   - /debug/pprof/, if profiles is set: only for loopback. Requests of web pages of other
//     origins are refused, and profiles of over a minute;
//   - /paths: the list of these, if page has the others. Without a page (nil), others are not found.
//
// A page guards /metrics and /paths, too. Containers are asked for their health under any name.
func Handler(profiles bool, metrics prometheus.Gatherer, page Page, servers ...Server) http.Handler {
	mux := http.NewServeMux()
	guard := func(handler http.Handler) http.Handler { return handler }
	if page != nil {
		guard = page.Guard
	}
	mux.Handle("GET /metrics", guard(oneByOne(promhttp.HandlerFor(metrics, promhttp.HandlerOpts{}))))
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintln(w, "ok")
	})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		var unready []error
		for _, n := range servers {
			unready = append(unready, n.Ready())
		}
		if err := errors.Join(unready...); err != nil {
			w.WriteHeader(http.StatusServiceUnavailable)
			fmt.Fprintln(printable.Writer(w), err) // reasons may have text from outside
			return
		}
		fmt.Fprintln(w, "ready")
	})
	paths := "/healthz /readyz /metrics"
	if profiles {
		addProfiles(mux)
		paths += " /debug/pprof/"
	}
	if page != nil {
		mux.Handle("GET /paths", guard(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			fmt.Fprintln(w, strings.ReplaceAll("/ "+paths, " ", "\n"))
		})))
		mux.Handle("/", LimitPage(page))
		return mux
	}
	mux.HandleFunc("GET /", func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "not found; there are "+paths, http.StatusNotFound)
	})
	return mux
}
