package watch

import (
	"context"
	"log/slog"
	"net/http"
	"sync/atomic"

	"herd/bus"
	"herd/bus/natsbus"
	"herd/bus/topology"
	"herd/places"
)

// Config describes a page. Graph, Herd and Log must be set.
type Config struct {
	Version  string
	Topology string // as the settings have it
	Prefix   bus.Prefix
	// Graph is the present topology. It may be called concurrently.
	Graph func() *topology.Graph
	Herd  Herd
	// Places is asked for places; nil for none.
	Places places.Source
	// Controls changes the herd; nil if the page only shows it.
	Controls Controls
	// Hosts are the names in a Host header that are accepted in addition to localhost and IP addresses.
	Hosts []string
	Log   *slog.Logger
}

// Herd is a herd as a guest of its bus reaches it. Its methods may be called concurrently.
type Herd interface {
	// Connect connects to the bus. ctx bounds the time that it takes.
	Connect(ctx context.Context) (Link, error)
}

// Link is a connection to the bus: natsbus.ToolSession.
type Link interface {
	Ask(e bus.Endpoint, data []byte, take func(natsbus.Reply)) (stop func(), err error)
	Subscribe(subject string, take func(subject string, data []byte)) (stop func(), err error)
	Done() <-chan struct{}
	Err() error
	Close()
}

// Controls changes a herd, so that one can watch what follows. Its methods may be called concurrently.
// Their errors are one line for the user.
type Controls interface {
	// Report reports a client's location to a server, as a client does, and returns the reply.
	Report(ctx context.Context, server, client string, lat, lon float64) (reply string, err error)
	// Cut makes the messages between two neighbours get lost, until Heal.
	Cut(a, b string) error
	Heal(a, b string) error
	// Stop stops a server, and Start starts it again.
	Stop(ctx context.Context, server string) error
	Start(ctx context.Context, server string) error
	// IsCut and IsStopped report what these did.
	IsCut(a, b string) bool
	IsStopped(server string) bool
}

// MaxStreams is how many streams a page's handler serves at a time, live and of clients. Further
// requests get 429.
const MaxStreams = 64

// Page is the handler. Run must run while it serves.
type Page struct {
	cfg     Config
	mux     *http.ServeMux
	files   map[string]*file
	feed    *feed
	streams atomic.Int32 // that are served now
}

// New makes a page. It starts nothing.
func New(cfg Config) *Page {
	p := &Page{cfg: cfg, mux: http.NewServeMux(), files: readFiles(), feed: newFeed(cfg)}
	p.mux.HandleFunc("GET /", p.serveFile)
	p.mux.HandleFunc("GET /api/live", p.serveLive)
	return p
}

// Run collects what pages show, while one is open. It returns when ctx has ended and everything that it
// started has stopped. Streams end, too.
func (p *Page) Run(ctx context.Context) { p.feed.run(ctx) }

// ServeHTTP implements http.Handler.
func (p *Page) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	setHeaders(w.Header())
	if status, why := p.refuse(r); status != 0 {
		http.Error(w, why, status)
		return
	}
	p.mux.ServeHTTP(w, r)
}

// beginStream reports whether one more stream may be served. If so, end must be called.
func (p *Page) beginStream(w http.ResponseWriter) (end func(), ok bool) {
	if p.streams.Add(1) > MaxStreams {
		p.streams.Add(-1)
		http.Error(w, "too many streams are open: close other pages of this herd", http.StatusTooManyRequests)
		return nil, false
	}
	return func() { p.streams.Add(-1) }, true
}
