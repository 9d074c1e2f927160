package watch

import (
	"context"
	"sync"
	"time"
)

const (
	// pollEvery is the time between two requests for the status of the servers.
	pollEvery = time.Second
	// replyTime is how long a poll waits for replies before pages are told. A later reply counts for
	// the next time.
	replyTime = 400 * time.Millisecond
	// connectTimeout is how long one try to connect to the bus may take, and connectPause is the time
	// between two.
	connectTimeout = 3 * time.Second
	connectPause   = time.Second
	// linger is how long the feed runs without a page: a page may be loaded anew.
	linger = 5 * time.Second
	// keptPolls is to how many polls servers may still reply.
	keptPolls = 3
	// feedQueue is how many replies and how many events wait for the feed. Further ones are dropped.
	feedQueue = 4096
)

// feed collects the state of the herd while pages are open, and sends it to all of them. One goroutine
// (run) has all state.
type feed struct {
	cfg     Config
	pages   *pages
	drawing drawing

	mu      sync.Mutex // guards what a new page is told
	current told
	ended   chan struct{} // closed when run has ended
}

// told is what the pages were told last.
type told struct {
	hello  map[bool][]byte // by whether the page may use the controls
	tap    []byte
	herd   []byte
	events [][]byte

	servers []string // to follow: those that reply
}

// replying are the servers that have replied to the last polls; none if no page is open.
func (f *feed) replying() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.current.servers
}

func newFeed(cfg Config) *feed {
	return &feed{cfg: cfg, pages: newPages(), ended: make(chan struct{})}
}

// join makes a page receive what there is, and all that follows. ended is closed when nothing follows any more.
func (f *feed) join(page *livePage) (leave func(), ended <-chan struct{}) {
	f.mu.Lock()
	defer f.mu.Unlock()
	page.set(func(l *livePage) {
		l.hello, l.tap, l.herd = f.current.hello[l.controls], f.current.tap, f.current.herd
		l.events = append(l.events, f.current.events...)
	})
	f.pages.mu.Lock()
	f.pages.open[page] = struct{}{}
	f.pages.mu.Unlock()
	signal(f.pages.opened)
	return func() {
		f.pages.mu.Lock()
		delete(f.pages.open, page)
		f.pages.mu.Unlock()
	}, f.ended
}

// tell changes what new pages are told, and tells the open ones.
func (f *feed) tell(keep func(*told), each func(*livePage)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	keep(&f.current)
	f.pages.each(func(page *livePage) { page.set(each) })
}

// run collects until ctx ends, whenever pages are open.
func (f *feed) run(ctx context.Context) {
	defer close(f.ended)
	for ctx.Err() == nil {
		f.pages.await(ctx)
		if ctx.Err() == nil {
			f.collect(ctx)
		}
	}
}

// pages are those that are open, and how long the feed runs for them.
type pages struct {
	mu     sync.Mutex
	open   map[*livePage]struct{}
	opened chan struct{} // receives a token when one is opened
}

func newPages() *pages { return &pages{open: map[*livePage]struct{}{}, opened: make(chan struct{}, 1)} }

func (p *pages) count() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.open)
}

// each calls do with each open page.
func (p *pages) each(do func(*livePage)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for page := range p.open {
		do(page)
	}
}

// await waits until a page is open, or ctx ends.
func (p *pages) await(ctx context.Context) {
	for p.count() == 0 && ctx.Err() == nil {
		select {
		case <-p.opened:
		case <-ctx.Done():
		}
	}
}

// signal puts a token into a channel of capacity 1.
func signal(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
