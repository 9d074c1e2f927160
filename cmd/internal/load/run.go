package load

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// run is one load under way.
type run struct {
	cfg      Config
	ctx      context.Context
	language language
	conns    []*conn

	wall   time.Time // of start, as clients' clocks have it
	start  time.Time
	unsent int // commands that were due, and never sent for want of room

	stopped     atomic.Bool // no more commands
	allSent     atomic.Bool // at a given rate: nothing more is going to be sent
	interrupted atomic.Bool // by ctx

	mu       sync.Mutex
	wrong    []WrongReply
	errs     []string
	failures int
}

// Progress is how far a load has come.
type Progress struct {
	Elapsed time.Duration
	Replies int // so far
	Recent  int // since the last Progress
	Since   time.Duration
}

// Run puts the load of cfg on its servers and reports what came of it. What goes
// wrong once the load has begun is in the Report, with all figures so far; an
// error is for a load that could not begin. When ctx ends, the load ends, and
// the phases after it are left out.
func Run(ctx context.Context, cfg Config) (Report, error) {
	if err := cfg.Validate(); err != nil {
		return Report{}, err
	}
	r := &run{cfg: cfg, ctx: ctx, language: newLanguage(cfg.Name, cfg.Clients)}
	defer r.close()
	var observers []*observer
	if cfg.Settle > 0 {
		for _, address := range cfg.Addresses {
			o, err := r.observe(address)
			if err != nil {
				return r.notBegun(err)
			}
			defer o.close()
			observers = append(observers, o)
		}
	}
	if err := r.connect(); err != nil {
		return r.notBegun(err)
	}

	report := Report{Addresses: cfg.Addresses, Connections: cfg.Connections, Pipeline: cfg.Pipeline, Clients: cfg.Clients, Rate: cfg.Rate}
	report.Elapsed = r.load()
	report.Unsent = r.unsent
	report.Interrupted = r.interrupted.Load()
	if cfg.Settle > 0 && !report.Interrupted {
		until := time.Now().Add(cfg.Settle)
		report.Replication = r.awaitReplication(observers, until)
		if cfg.Replicated != nil {
			cfg.Replicated()
		}
		r.part()
		if cfg.Check > 0 {
			report.Check = r.check(observers, until)
		}
		report.Interrupted = ctx.Err() != nil
	} else {
		r.part()
	}
	r.sum(&report)
	return report, nil
}

// notBegun is the outcome of a load that err kept from beginning.
func (r *run) notBegun(err error) (Report, error) {
	if r.ctx.Err() != nil {
		return Report{Addresses: r.cfg.Addresses, Interrupted: true}, nil
	}
	return Report{}, err
}

// connect dials all connections, some at a time.
func (r *run) connect() error {
	targets := make([]*target, len(r.cfg.Addresses))
	for i, a := range r.cfg.Addresses {
		targets[i] = &target{address: a}
	}
	if r.cfg.First {
		targets = targets[:1]
	}
	const atATime = 32
	r.conns = make([]*conn, r.cfg.Connections)
	var (
		next  atomic.Int64
		group sync.WaitGroup
		first error
		once  sync.Once
	)
	for range min(atATime, len(r.conns)) {
		group.Go(func() {
			for i := int(next.Add(1)) - 1; i < len(r.conns); i = int(next.Add(1)) - 1 {
				c, err := r.dial(i, targets[i%len(targets)])
				if err != nil {
					once.Do(func() { first = fmt.Errorf("connection %d of %d: %w", i+1, len(r.conns), err) })
					next.Add(int64(len(r.conns)))
					return
				}
				r.conns[i] = c
			}
		})
	}
	group.Wait()
	return first
}

// close closes what is still open.
func (r *run) close() {
	for _, c := range r.conns {
		if c != nil {
			c.socket.Close()
		}
	}
}

// load sends and receives until the bounds are reached, and returns how long that
// took, to the last reply.
func (r *run) load() time.Duration {
	r.start = time.Now()
	r.wall = r.start.Round(0)
	defer time.AfterFunc(r.cfg.Duration, func() { r.stopped.Store(true) }).Stop()
	defer context.AfterFunc(r.ctx, r.interrupt)()
	defer r.reportProgress()()

	ended := make([]time.Duration, len(r.conns))
	var group sync.WaitGroup
	for i, c := range r.conns {
		group.Go(func() {
			if r.cfg.Rate > 0 {
				c.err = c.listen()
			} else {
				c.err = c.flatOut()
			}
			c.over.Store(true)
			ended[i] = time.Since(r.start)
		})
	}
	if r.cfg.Rate > 0 {
		r.pace()
	}
	group.Wait()
	var last time.Duration
	for i, c := range r.conns {
		last = max(last, ended[i])
		c.leaveUnsure()
		if c.err != nil && !errors.Is(c.err, errInterrupted) {
			r.noteError(c.err)
		}
	}
	return last
}

// interrupt ends the load before its time.
func (r *run) interrupt() {
	r.interrupted.Store(true)
	r.stopped.Store(true)
	for _, c := range r.conns {
		c.hurry()
	}
}

// reportProgress calls Progress once a second until stop is called.
func (r *run) reportProgress() (stop func()) {
	if r.cfg.Progress == nil {
		return func() {}
	}
	done := make(chan struct{})
	var group sync.WaitGroup
	group.Go(func() {
		var before int
		at := r.start
		tick := time.NewTicker(time.Second)
		defer tick.Stop()
		for {
			select {
			case <-done:
				return
			case now := <-tick.C:
				replies := r.replies()
				r.cfg.Progress(Progress{Elapsed: now.Sub(r.start), Replies: replies, Recent: replies - before, Since: now.Sub(at)})
				before, at = replies, now
			}
		}
	})
	return func() {
		close(done)
		group.Wait()
	}
}

func (r *run) replies() (n int) {
	for _, c := range r.conns {
		n += int(c.done.Load())
	}
	return n
}

// part ends all connections well.
func (r *run) part() {
	var group sync.WaitGroup
	for _, c := range r.conns {
		if c.err == nil {
			group.Go(c.part)
		}
	}
	group.Wait()
}

// someExamples is how many wrong replies and errors are kept.
const someExamples = 5

func (r *run) noteWrong(address string, sent, got []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.wrong) < someExamples {
		r.wrong = append(r.wrong, WrongReply{Address: address, Command: string(sent), Reply: excerpt(got)})
	}
}

// excerpt is the beginning of a reply, enough to know it by.
func excerpt(b []byte) string {
	const most = 300
	if len(b) > most {
		return string(b[:most]) + "…"
	}
	return string(b)
}

func (r *run) noteError(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.failures++
	if len(r.errs) < someExamples {
		r.errs = append(r.errs, err.Error())
	}
}
