package watch

import (
	"context"
	"log/slog"
	"net/http"
	"sync/atomic"

	"herd/bus"
	"herd/bus/natsbus"
	"herd/bus/printable"
	"herd/bus/topology"
	"herd/node/follow"
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
	// Follow calls frames with the frames of one of the servers, and of the next ones when it is lost, until
	// ctx ends. If none can be followed at the beginning, it returns the last error. The servers may
	// change, and there is always one.
	Follow(ctx context.Context, servers func() []string, r follow.Request, frames Frames) error
	// Records asks all servers for a client's record.
	Records(ctx context.Context, client string) ([]Record, error)
	// Near asks one server who is near: see wire.ParseNear and wire.ParseFound.
	Near(ctx context.Context, request []byte) (natsbus.Reply, error)
}

// Record is what a server knows of a client.
type Record struct {
	Server  string
	Replied bool
	Line    string // "" if the server does not know the client
	Err     error  // that it has replied in place of a record
}

// Link is a connection to the bus: natsbus.ToolSession.
type Link interface {
	Ask(e bus.Endpoint, data []byte, take func(natsbus.Reply)) (stop func(), err error)
	// Info asks all servers for the metadata of their services.
	Info(take func(metadata map[string]string)) (stop func(), err error)
	Subscribe(subject string, take func(subject string, data []byte)) (stop func(), err error)
	Done() <-chan struct{}
	Err() error
	Close()
}

// Controls changes a herd, so that one can watch what follows. Its methods may be called concurrently.
// Their errors are one line for the user.
type Controls interface {
	// CanReport reports whether Report can succeed.
	CanReport() bool
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

// MaxRequests is how many requests the server of a page should answer at a time: streams, and some others.
const MaxRequests = MaxStreams + 16

// Page is the handler. Run must run while it serves.
type Page struct {
	cfg      Config
	mux      *http.ServeMux
	files    map[string]*file
	feed     *feed
	hubs     *hubs
	end      context.CancelFunc // of all that runs
	streams  atomic.Int32       // that are served now
	handling chan struct{}      // has a token for each request for JSON that is being handled
}

// New makes a page. It starts nothing.
func New(cfg Config) *Page {
	ctx, end := context.WithCancel(context.Background())
	p := &Page{cfg: cfg, mux: http.NewServeMux(), files: readFiles(), feed: newFeed(cfg), end: end, handling: make(chan struct{}, maxRequestsAtOnce)}
	p.hubs = newHubs(ctx, cfg.Herd, p.followed)
	p.mux.HandleFunc("GET /", p.serveFile)
	p.mux.HandleFunc("GET /api/live", p.serveLive)
	p.mux.HandleFunc("GET /api/clients", p.serveClients)
	p.mux.HandleFunc("GET /api/client", p.serveJSON(p.clientRecords))
	p.mux.HandleFunc("GET /api/places", p.serveJSON(p.nearbyPlaces))
	p.mux.HandleFunc("GET /api/near", p.serveJSON(p.nearbyClients))
	p.mux.HandleFunc("POST /api/try/{action}", p.serveTry)
	return p
}

// followed returns the names of servers to open streams at: those that reply, or all of the topology if none does.
func (p *Page) followed() []string {
	if names := p.feed.replying(); len(names) > 0 {
		return names
	}
	return p.cfg.Graph().Servers()
}

// Run collects what pages show, while one is open. It returns when ctx has ended and everything that it
// started has stopped. Streams end, too.
func (p *Page) Run(ctx context.Context) {
	p.feed.run(ctx)
	p.end()
	p.hubs.close()
}

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

// oneLine is a text for one line of a reply. It may quote what a server said.
func oneLine(text string) string { return printable.Clip(text, 1000) }
