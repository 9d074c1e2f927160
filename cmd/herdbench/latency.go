package main

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"herd/cmd/herdbench/rivals"
	"herd/cmd/internal/load"
)

// LatencyResults is the time until another server has a lone update.
type LatencyResults struct {
	Ways     []Way   `json:"ways"`
	HalfLoad float64 `json:"half_load_per_second"` // the load during the last measurements
}

// Way is one path of an update, in microseconds over all samples.
type Way struct {
	Name    string  `json:"name"`
	Samples int     `json:"samples"`
	P50     float64 `json:"p50_us"`
	P99     float64 `json:"p99_us"`
	Max     float64 `json:"max_us"`
	OfBare  float64 `json:"of_bare"` // p50 divided by that of the same path over bare NATS; 0 where there is none
}

// latencyPause is the time between two updates, so that each is alone.
const latencyPause = 2 * time.Millisecond

// latency measures paths over bare NATS and paths through a herd in turn.
func (b *bench) latency(ctx context.Context) (*LatencyResults, error) {
	b.say("latency: starting")
	relays, err := rivals.StartRelays(ctx, b.lab, "Goloman", "Holiday", "Wilkes")
	if err != nil {
		return nil, err
	}
	defer relays.Stop()
	bare, err := newBareBus(relays.URL)
	if err != nil {
		return nil, err
	}
	defer bare.close()
	herd, err := rivals.Serve("herd", "").StartHerd(ctx, b.lab)
	if err != nil {
		return nil, err
	}
	defer herd.Stop()
	ends := map[string]*client{} // by server
	for i, name := range b.lab.Graph.Servers() {
		if ends[name], err = dial(herd.Addresses()[i]); err != nil {
			return nil, err
		}
		defer ends[name].conn.Close()
	}

	oneHop := func() (time.Duration, error) { return loneUpdate(ends["Goloman"], ends["Hands"]) }
	longest := func() (time.Duration, error) { return loneUpdate(ends["Welsh"], ends["Hands"]) }
	type way struct {
		name   string
		bare   int // index of the path over bare NATS; -1: none
		sample func() (time.Duration, error)
		load   bool // measured at half of the maximum load
		seen   load.Histogram
	}
	ways := []*way{
		{name: "herd, the reply to a WHATSAT", bare: -1, sample: func() (time.Duration, error) { return timeWhatsAt(ends["Hands"]) }},
		{name: "herd, the reply to an IAMAT", bare: -1, sample: func() (time.Duration, error) { return timeIAmAt(ends["Goloman"]) }},
		{name: "one hop over NATS, bare", bare: -1, sample: bare.hop},
		{name: "herd, one hop (Goloman to Hands)", bare: 2, sample: oneHop},
		{name: "three hops over NATS, relayed, bare", bare: -1, sample: bare.relayed},
		{name: "herd, the longest path (Welsh to Hands)", bare: 4, sample: longest},
		{name: "herd, one hop, at half of the maximum load", bare: 2, sample: oneHop, load: true},
		{name: "herd, the longest path, at half of the maximum load", bare: 4, sample: longest, load: true},
	}
	measure := func(loaded bool) error {
		for _, w := range ways {
			if w.load != loaded {
				continue
			}
			for range b.Samples {
				d, err := w.sample()
				if err != nil {
					return fmt.Errorf("%s: %w", w.name, err)
				}
				w.seen.Record(d, 1)
				select {
				case <-ctx.Done():
					return ctx.Err()
				case <-time.After(latencyPause):
				}
			}
		}
		return nil
	}
	for round := range b.Rounds {
		b.say("latency: round %d of %d", round+1, b.Rounds)
		if err := measure(false); err != nil {
			return nil, err
		}
	}

	b.say("latency: under load")
	most, err := herd.Run(ctx, rivals.Workload{Connections: 8, Pipeline: 64, Clients: b.Clients, Duration: b.Duration, Count: b.Count})
	if err != nil {
		return nil, fmt.Errorf("the maximum load: %w", err)
	}
	results := &LatencyResults{HalfLoad: most.Replicated / 2}
	loading, endLoad := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() {
		_, err := load.Run(loading, load.Config{
			Addresses: herd.Addresses(), First: true, Connections: 8, Pipeline: 64, Clients: b.Clients, Name: "half", Rate: results.HalfLoad,
			Duration: load.MaxDuration, Count: load.MaxCount, Patience: time.Minute,
		})
		ended <- err
	}()
	for range b.Rounds {
		if err = measure(true); err != nil {
			break
		}
	}
	endLoad()
	if loadErr := <-ended; err == nil {
		err = loadErr
	}
	if err != nil {
		return nil, err
	}

	us := func(d time.Duration) float64 { return float64(d) / 1e3 }
	t := table{head: []string{"a lone update is seen after", "p50 µs", "p99 µs", "max µs", "p50 / bare p50"}}
	for _, w := range ways {
		r := Way{Name: w.name, Samples: int(w.seen.Total()), P50: us(w.seen.Quantile(.5)), P99: us(w.seen.Quantile(.99)), Max: us(w.seen.Max())}
		if w.bare >= 0 {
			r.OfBare = ratio(r.P50, us(ways[w.bare].seen.Quantile(.5)))
		}
		results.Ways = append(results.Ways, r)
		t.rows = append(t.rows, []string{r.Name, number(r.P50, 0), number(r.P99, 0), number(r.Max, 0), number(r.OfBare, 2)})
	}
	fmt.Fprintf(b.out, "\n%d updates on each path. An update is seen once another server, polled from the reply on, answers a WHATSAT with it.\n"+
		"Half of the maximum load: %s updates/s to Goloman.\n\n%s", results.Ways[0].Samples, number(results.HalfLoad, 0), t)
	return results, nil
}

// bareBus sends a record over NATS without a herd.
type bareBus struct {
	publisher, subscriber *nats.Conn
	hops, relays          *nats.Subscription
	sent                  int
}

const (
	hopSubject = "bench.hop"
	bareLine   = "AT Welsh +0.000123456 bench.00000 +34.068930-118.445127 1621464827.959498503\n"
)

func newBareBus(url string) (b *bareBus, err error) {
	b = &bareBus{}
	if b.publisher, err = nats.Connect(url); err != nil {
		return nil, err
	}
	if b.subscriber, err = nats.Connect(url); err != nil {
		b.publisher.Close()
		return nil, err
	}
	if b.hops, err = b.subscriber.SubscribeSync(hopSubject); err == nil {
		if b.relays, err = b.subscriber.SubscribeSync(rivals.EdgeSubject("*", "Hands")); err == nil {
			err = b.subscriber.Flush()
		}
	}
	if err != nil {
		b.close()
		return nil, err
	}
	return b, nil
}

func (b *bareBus) close() {
	b.publisher.Close()
	b.subscriber.Close()
}

// hop is the time for one line over one hop of NATS.
func (b *bareBus) hop() (time.Duration, error) {
	return b.send(hopSubject, b.hops)
}

// relayed is the time for one line from Welsh to Hands over the relays between them. This
// process is both ends.
func (b *bareBus) relayed() (time.Duration, error) {
	return b.send(rivals.EdgeSubject("Welsh", "Holiday"), b.relays)
}

func (b *bareBus) send(subject string, arrivals *nats.Subscription) (time.Duration, error) {
	b.sent++
	head := strconv.Itoa(b.sent) + "\n"
	begin := time.Now()
	if err := b.publisher.Publish(subject, []byte(head+bareLine)); err != nil {
		return 0, err
	}
	for {
		m, err := arrivals.NextMsg(10 * time.Second)
		if err != nil {
			return 0, err
		}
		if strings.HasPrefix(string(m.Data), head) { // otherwise a copy of an earlier one, over another path
			return time.Since(begin), nil
		}
	}
}

// client is a connection with one command in flight at a time.
type client struct {
	conn net.Conn
	r    *bufio.Reader
}

func dial(address string) (*client, error) {
	conn, err := net.Dial("tcp", address)
	if err != nil {
		return nil, err
	}
	return &client{conn, bufio.NewReader(conn)}, nil
}

// send returns the first line of the reply to a command.
func (c *client) send(command string) (string, error) {
	c.conn.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := c.conn.Write([]byte(command + "\n")); err != nil {
		return "", err
	}
	reply, err := c.r.ReadString('\n')
	if strings.HasPrefix(command, "WHATSAT") && strings.HasPrefix(reply, "AT ") {
		for line := reply; err == nil && line != "\n"; {
			line, err = c.r.ReadString('\n')
		}
	}
	return reply, err
}

// timeWhatsAt is the time until the reply to a WHATSAT.
func timeWhatsAt(c *client) (time.Duration, error) {
	begin := time.Now()
	_, err := c.send("WHATSAT lone 0 0")
	return time.Since(begin), err
}

// timeIAmAt is the time until the reply to an IAMAT.
func timeIAmAt(c *client) (time.Duration, error) {
	begin := time.Now()
	_, err := c.send(update(begin))
	return time.Since(begin), err
}

// update is a report of the lone client.
func update(now time.Time) string {
	return fmt.Sprintf("IAMAT lone +34.068930-118.445127 %d.%09d", now.Unix(), now.Nanosecond())
}

// loneUpdate sends an update to one server and returns the time until another server has
// it.
func loneUpdate(from, to *client) (time.Duration, error) {
	now := time.Now()
	record, err := from.send(update(now))
	if err != nil {
		return 0, err
	}
	for {
		held, err := to.send("WHATSAT lone 0 0")
		switch {
		case err != nil:
			return 0, err
		case held == record:
			return time.Since(now), nil
		case time.Since(now) > 10*time.Second:
			return 0, fmt.Errorf("the other server has %q and not %q", held, record)
		}
	}
}
