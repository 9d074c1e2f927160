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
	cfg    Config
	ctx    context.Context
	format format
	conns  []*conn

	wall    time.Time // start by the wall clock, for clients' timestamps
	start   time.Time
	samples []Sample
	unsent  int // commands that were due and not sent, because Pipeline commands were in flight

	stopped     atomic.Bool // no more commands may be sent
	allSent     atomic.Bool // with a Rate: no more commands will be sent
	interrupted atomic.Bool // ctx ended

	mu       sync.Mutex
	wrong    []WrongReply
	errs     []string
	failures int
}

// Progress is the state of a running load.
type Progress struct {
	Elapsed time.Duration
	Replies int // so far
	Recent  int // since the last Progress
	Since   time.Duration
}

// Run applies the load and reports the results. It returns an error only if the load
// could not start; later errors are in the Report, with the figures up to then. When ctx
// ends, the load ends and the remaining phases are skipped.
func Run(ctx context.Context, cfg Config) (Report, error) {
	if err := cfg.Validate(); err != nil {
		return Report{}, err
	}
	r := &run{cfg: cfg, ctx: ctx, format: newFormat(cfg.Name, cfg.Clients)}
	defer r.close()
	var observers []*observer
	if cfg.Settle > 0 {
		for _, address := range cfg.Addresses {
			o, err := r.observe(address)
			if err != nil {
				return r.startFailed(err)
			}
			defer o.close()
			observers = append(observers, o)
		}
	}
	if err := r.connect(); err != nil {
		return r.startFailed(err)
	}

	report := r.newReport()
	report.Elapsed = r.load()
	report.Unsent = r.unsent
	report.Interrupted = r.interrupted.Load()
	if cfg.Settle > 0 && !report.Interrupted {
		until := time.Now().Add(cfg.Settle)
		report.Replication = r.awaitReplication(observers, until)
		if cfg.Replicated != nil {
			cfg.Replicated()
		}
		r.closeGracefully()
		if cfg.Check > 0 {
			report.Check = r.check(observers, until)
		}
		report.Interrupted = ctx.Err() != nil
	} else {
		r.closeGracefully()
	}
	r.sum(&report)
	return report, nil
}

// newReport is a report without results.
func (r *run) newReport() Report {
	c := r.cfg
	return Report{Addresses: c.Addresses, Connections: c.Connections, Pipeline: c.Pipeline, Clients: c.Clients, Rate: c.Rate}
}

// startFailed is the result of a load that could not start because of err.
func (r *run) startFailed(err error) (Report, error) {
	if r.ctx.Err() != nil {
		report := r.newReport()
		report.Interrupted = true
		return report, nil
	}
	return Report{}, err
}

// connect dials all connections, a limited number at a time.
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

// close closes the connections that are still open.
func (r *run) close() {
	for _, c := range r.conns {
		if c != nil {
			c.socket.Close()
		}
	}
}

// load sends and receives until Duration or Count is reached, and returns the time from
// the start to the last reply.
func (r *run) load() time.Duration {
	r.start = time.Now()
	r.wall = r.start.Round(0)
	defer time.AfterFunc(r.cfg.Duration, func() { r.stopped.Store(true) }).Stop()
	defer context.AfterFunc(r.ctx, r.interrupt)()
	defer r.reportProgress()()
	defer r.sampleReplies()()

	ended := make([]time.Duration, len(r.conns))
	var group sync.WaitGroup
	for i, c := range r.conns {
		group.Go(func() {
			if r.cfg.Rate > 0 {
				c.err = c.receiveAll()
			} else {
				c.err = c.sendAndReceive()
			}
			c.ended.Store(true)
			ended[i] = time.Since(r.start)
		})
	}
	if r.cfg.Rate > 0 {
		r.sendAtRate()
	}
	group.Wait()
	var last time.Duration
	for i, c := range r.conns {
		last = max(last, ended[i])
		c.markUnanswered()
		if c.err != nil && !errors.Is(c.err, errInterrupted) {
			r.addError(c.err)
		}
	}
	return last
}

// interrupt ends the load early.
func (r *run) interrupt() {
	r.interrupted.Store(true)
	r.stopped.Store(true)
	for _, c := range r.conns {
		c.shortenDeadline()
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

// sampleReplies counts the replies at even intervals, until stop is called.
func (r *run) sampleReplies() (stop func()) {
	const (
		least = 100 * time.Millisecond
		most  = 500 // samples
	)
	done := make(chan struct{})
	var group sync.WaitGroup
	group.Go(func() {
		tick := time.NewTicker(max(least, r.cfg.Duration/most))
		defer tick.Stop()
		for open := true; open; {
			select {
			case <-done:
				open = false // the last sample
			case <-tick.C:
			}
			r.samples = append(r.samples, Sample{Elapsed: time.Since(r.start), Replies: r.replies()})
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

// closeGracefully closes all connections that work.
func (r *run) closeGracefully() {
	var group sync.WaitGroup
	for _, c := range r.conns {
		if c.err == nil {
			group.Go(c.closeGracefully)
		}
	}
	group.Wait()
}

// someExamples is the maximum number of wrong replies and errors to report.
const someExamples = 5

func (r *run) addWrong(address string, sent, got []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.wrong) < someExamples {
		r.wrong = append(r.wrong, WrongReply{Address: address, Command: string(sent), Reply: excerpt(got)})
	}
}

// excerpt is the beginning of a reply.
func excerpt(b []byte) string {
	const most = 300
	if len(b) > most {
		return string(b[:most]) + "…"
	}
	return string(b)
}

func (r *run) addError(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.failures++
	if len(r.errs) < someExamples {
		r.errs = append(r.errs, err.Error())
	}
}
