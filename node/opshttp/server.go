package opshttp

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"
)

// MaxConnections is the number of connections that a server keeps open, beside those of the requests of
// a page.
const MaxConnections = 16

// The size of a request's headers, in bytes. A page names clients in its URLs: 8,000 bytes, three characters each.
const (
	maxHeader     = 16 << 10
	maxPageHeader = 32 << 10
)

// Limits in time of a connection. A profile has its seconds in addition to writeTimeout.
const (
	headerTimeout = 5 * time.Second
	readTimeout   = 10 * time.Second
	writeTimeout  = 10 * time.Second
	idleTimeout   = 30 * time.Second
)

// NewServer returns an HTTP server for handler that holds MaxConnections, each for
// a limited time: clients of the herd, the bus and the journal need the process's file
// descriptors. When there are more, the one that has waited longest for a request is
// closed; if none waits, the new one. A handler that streams sets its own deadlines. Errors of the
// server go to log, at debug.
//
// pageRequests is how many requests of a page (see LimitPage) it serves at a time, on further connections; 0 without
// a page.
func NewServer(handler http.Handler, pageRequests int, log *slog.Logger) *http.Server {
	c := &connections{most: MaxConnections + pageRequests, pageRequests: pageRequests, open: map[net.Conn]*connection{}}
	header := maxHeader
	if pageRequests > 0 {
		header = maxPageHeader
	}
	return &http.Server{
		Handler:   c.note(handler),
		ConnState: c.changed,
		ConnContext: func(ctx context.Context, conn net.Conn) context.Context {
			return context.WithValue(ctx, connKey{}, accepted{c, conn})
		},
		ReadHeaderTimeout: headerTimeout,
		ReadTimeout:       readTimeout,
		WriteTimeout:      writeTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    header,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
}

type connKey struct{} // of a request's accepted in its context

type accepted struct {
	by   *connections
	conn net.Conn
}

// connections is the open connections of a server.
type connections struct {
	most         int
	pageRequests int // of these, how many may serve a page

	mu   sync.Mutex
	open map[net.Conn]*connection
}

type connection struct {
	serving bool      // a request is being answered
	page    bool      // it is one of a page
	since   time.Time // it waits for one
}

// note tells which connections are serving.
func (c *connections) note(handler http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		on, _ := r.Context().Value(connKey{}).(accepted)
		c.mu.Lock()
		if served := c.open[on.conn]; served != nil {
			served.serving = true
		}
		c.mu.Unlock()
		handler.ServeHTTP(w, r)
	})
}

// changed is http.Server.ConnState.
func (c *connections) changed(conn net.Conn, state http.ConnState) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch state {
	case http.StateNew:
		c.open[conn] = &connection{since: time.Now()}
		if len(c.open) > c.most {
			c.closeOneLocked(conn)
		}
	case http.StateIdle:
		if served := c.open[conn]; served != nil {
			served.serving, served.page, served.since = false, false, time.Now()
		}
	case http.StateClosed, http.StateHijacked:
		delete(c.open, conn)
	}
}

// closeOneLocked closes the connection that has waited longest, or latest if none but that
// waits.
func (c *connections) closeOneLocked(latest net.Conn) {
	oldest := latest
	for conn, state := range c.open {
		if !state.serving && state.since.Before(c.open[oldest].since) {
			oldest = conn
		}
	}
	delete(c.open, oldest)
	oldest.Close()
}
