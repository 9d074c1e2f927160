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

// LatencyResults is how long a lone update takes to be seen.
type LatencyResults struct {
	Ways     []Way   `json:"ways"`
	HalfLoad float64 `json:"half_load_per_second"` // the rate of the load in the last of them
}

// Way is a way of an update, in microseconds over all samples.
type Way struct {
	Name    string  `json:"name"`
	Samples int     `json:"samples"`
	P50     float64 `json:"p50_us"`
	P99     float64 `json:"p99_us"`
	Max     float64 `json:"max_us"`
	OfBare  float64 `json:"of_bare"` // p50 to that of the bare way it is compared with; 0: it is one
}

// latencyPause is between two updates, so that each is alone.
const latencyPause = 2 * time.Millisecond

// latency measures the bare ways over NATS and those of a herd in turns.
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
	ends := map[string]*asker{} // by server
	for i, name := range b.lab.Graph.Servers() {
		if ends[name], err = ask(herd.Addresses()[i]); err != nil {
			return nil, err
		}
		defer ends[name].conn.Close()
	}

	oneHop := func() (time.Duration, error) { return loneUpdate(ends["Goloman"], ends["Hands"]) }
	longest := func() (time.Duration, error) { return loneUpdate(ends["Welsh"], ends["Hands"]) }
	type way struct {
		name   string
		bare   int // index of the way to compare with; -1: none
		sample func() (time.Duration, error)
		load   bool // under half of the maximal load
		seen   load.Histogram
	}
	ways := []*way{
		{name: "herd, a WHATSAT and no more", bare: -1, sample: func() (time.Duration, error) { return question(ends["Hands"]) }},
		{name: "herd, an IAMAT and no more", bare: -1, sample: func() (time.Duration, error) { return report(ends["Goloman"]) }},
		{name: "one hop over NATS, bare", bare: -1, sample: bare.hop},
		{name: "herd, one hop (Goloman to Hands)", bare: 2, sample: oneHop},
		{name: "three hops over NATS, relayed, bare", bare: -1, sample: bare.relayed},
		{name: "herd, the longest way (Welsh to Hands)", bare: 4, sample: longest},
		{name: "herd, one hop, at half of the maximal load", bare: 2, sample: oneHop, load: true},
		{name: "herd, the longest way, at half of the maximal load", bare: 4, sample: longest, load: true},
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
		return nil, fmt.Errorf("the maximal load: %w", err)
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
	t := table{head: []string{"a lone update is seen after", "p50 µs", "p99 µs", "most µs", "p50 of the bare one's"}}
	for _, w := range ways {
		r := Way{Name: w.name, Samples: int(w.seen.Total()), P50: us(w.seen.Quantile(.5)), P99: us(w.seen.Quantile(.99)), Max: us(w.seen.Max())}
		if w.bare >= 0 {
			r.OfBare = r.P50 / us(ways[w.bare].seen.Quantile(.5))
		}
		results.Ways = append(results.Ways, r)
		t.rows = append(t.rows, []string{r.Name, number(r.P50, 0), number(r.P99, 0), number(r.Max, 0), number(r.OfBare, 2)})
	}
	fmt.Fprintf(b.out, "\n%d updates each way. Seen: another server answers a WHATSAT with it, asked again and again from the reply on.\n"+
		"Half of the maximal load: %s updates a second to Goloman.\n\n%s", results.Ways[0].Samples, number(results.HalfLoad, 0), t)
	return results, nil
}

// bareBus sends a line as the flood has them over NATS and nothing else.
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

// hop is how long one line takes over NATS.
func (b *bareBus) hop() (time.Duration, error) {
	return b.send(hopSubject, b.hops)
}

// relayed is how long one line takes from Welsh to Hands, which this process is
// both of; the relays are others.
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
		if strings.HasPrefix(string(m.Data), head) { // and not an earlier one that came another way, too
			return time.Since(begin), nil
		}
	}
}

// asker is a connection for one command at a time.
type asker struct {
	conn net.Conn
	r    *bufio.Reader
}

func ask(address string) (*asker, error) {
	conn, err := net.Dial("tcp", address)
	if err != nil {
		return nil, err
	}
	return &asker{conn, bufio.NewReader(conn)}, nil
}

// ask returns the first line of the reply to a command.
func (a *asker) ask(command string) (string, error) {
	a.conn.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := a.conn.Write([]byte(command + "\n")); err != nil {
		return "", err
	}
	reply, err := a.r.ReadString('\n')
	if strings.HasPrefix(command, "WHATSAT") && strings.HasPrefix(reply, "AT ") {
		for line := reply; err == nil && line != "\n"; {
			line, err = a.r.ReadString('\n')
		}
	}
	return reply, err
}

// question is how long a server takes to answer a WHATSAT.
func question(a *asker) (time.Duration, error) {
	begin := time.Now()
	_, err := a.ask("WHATSAT lone 0 0")
	return time.Since(begin), err
}

// report is how long a server takes to answer an IAMAT.
func report(a *asker) (time.Duration, error) {
	begin := time.Now()
	_, err := a.ask(update(begin))
	return time.Since(begin), err
}

// update is a new place of one client.
func update(now time.Time) string {
	return fmt.Sprintf("IAMAT lone +34.068930-118.445127 %d.%09d", now.Unix(), now.Nanosecond())
}

// loneUpdate sends an update to one server and returns after how long another
// one knows it.
func loneUpdate(from, to *asker) (time.Duration, error) {
	now := time.Now()
	record, err := from.ask(update(now))
	if err != nil {
		return 0, err
	}
	for {
		held, err := to.ask("WHATSAT lone 0 0")
		switch {
		case err != nil:
			return 0, err
		case held == record:
			return time.Since(now), nil
		case time.Since(now) > 10*time.Second:
			return 0, fmt.Errorf("%q is not seen, but %q", record, held)
		}
	}
}
