package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"

	"herd/cmd/herdbench/rivals"
	"herd/cmd/internal/load"
	"herd/node/status"
)

// NearResults is the rate of requests for who is near, and what they cost updates.
type NearResults struct {
	Records  int        `json:"records"`
	Requests float64    `json:"requests_per_second"` // to an idle herd, median over the rounds
	CPU      float64    `json:"cpu_us_per_request"`  // of the servers
	P50      float64    `json:"p50_us"`
	P99      float64    `json:"p99_us"`
	Updates  []NearCost `json:"updates"`
}

// NearCost is what an update costs at P64 beside requests, medians over the rounds.
type NearCost struct {
	Asked int     `json:"requests_per_second"`
	CPU   float64 `json:"cpu_us_per_update"`
	Ratio float64 `json:"to_never_asked"` // median of the ratios
}

// nearRates are the rates of requests beside updates. The first herd is never asked.
var nearRates = []int{0, 1, 10, 1000}

const (
	nearAskers = 64 // that wait for their reply
	nearCities = 100
)

// nearCity is a place in one of the cities: most are within 20 km of its middle.
func nearCity(r *rand.Rand) string {
	city := float64(r.IntN(nearCities))
	return fmt.Sprintf("%+.6f%+.6f", 60*math.Sin(city)+.1*r.NormFloat64(), 170*math.Cos(3*city)+.1*r.NormFloat64())
}

// loadPlace is a place at which a 64th of the clients of a load is at each time.
func loadPlace(*rand.Rand) string { return "+0+175" }

// near measures requests for the 20 nearest clients within 10 km.
func (b *bench) near(ctx context.Context) (*NearResults, error) {
	r := &NearResults{Records: b.Records}
	if err := b.nearAlone(ctx, r); err != nil {
		return nil, err
	}
	if err := b.nearBesideUpdates(ctx, r); err != nil {
		return nil, err
	}
	t := table{head: []string{"requests for who is near", ""}}
	t.rows = append(t.rows, []string{"per second, to an idle herd", number(r.Requests, 0)}, []string{"CPU µs per request, of the servers", number(r.CPU, 1)}, []string{"p50 µs", number(r.P50, 0)}, []string{"p99 µs", number(r.P99, 0)})
	costs := table{head: []string{"requests per second beside P64", "CPU µs per update", "of never asked"}}
	for _, c := range r.Updates {
		costs.rows = append(costs.rows, []string{number(float64(c.Asked), 0), number(c.CPU, 2), number(c.Ratio, 2)})
	}
	fmt.Fprintf(b.out, "\n%d askers, each with one request at a time; %s records. 20 clients within 10 km.\n\n%s\n%s", nearAskers, number(float64(r.Records), 0), t, costs)
	return r, nil
}

// nearAlone fills a herd, and requests as fast as it answers.
func (b *bench) nearAlone(ctx context.Context, r *NearResults) error {
	b.say("near: filling")
	herd, err := rivals.Serve("herd", "").StartHerd(ctx, b.lab)
	if err != nil {
		return err
	}
	defer herd.Stop()
	if err := b.fillCities(ctx, herd); err != nil {
		return fmt.Errorf("filling: %w", err)
	}
	for range 10 { // until all servers have made their indexes
		warm, err := askNear(ctx, herd.Bus, nearCity, time.Second, nearAskers, 0)
		if err == nil && warm.Max() < 100*time.Millisecond {
			break
		}
	}
	var servers []*rivals.Process
	for i := range herd.Ops {
		servers = append(servers, herd.Server(i))
	}
	var seen load.Histogram
	var rates, cpu []float64
	for round := range b.Rounds {
		b.say("near: requests, round %d of %d", round+1, b.Rounds)
		began, used := time.Now(), rivals.CPU(servers)
		replies, err := askNear(ctx, herd.Bus, nearCity, b.Duration, nearAskers, 0)
		if err != nil {
			return err
		}
		rates = append(rates, float64(replies.Total())/time.Since(began).Seconds())
		cpu = append(cpu, float64(rivals.CPU(servers)-used)/1e3/float64(replies.Total()))
		seen.Add(replies)
	}
	r.Requests, r.CPU = median(rates), median(cpu)
	r.P50, r.P99 = float64(seen.Quantile(.5))/1e3, float64(seen.Quantile(.99))/1e3
	return nil
}

// fillCities reports --records clients in cities, and waits until all servers have them.
func (b *bench) fillCities(ctx context.Context, herd *rivals.Herd) error {
	conn, err := net.Dial("tcp", herd.Addresses()[0])
	if err != nil {
		return err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	go func() { // an error ends the replies, too
		w, r := bufio.NewWriterSize(conn, 64<<10), rand.New(rand.NewPCG(1, 2))
		for i := range b.Records {
			fmt.Fprintf(w, "IAMAT client%07d.example %s %d\n", i, nearCity(r), time.Now().Unix())
		}
		w.Flush()
	}()
	replies := bufio.NewReaderSize(conn, 64<<10)
	for range b.Records {
		line, err := replies.ReadSlice('\n')
		if err != nil {
			return err
		}
		if !bytes.HasPrefix(line, []byte("AT ")) {
			return fmt.Errorf("the reply to a report is %.100q", line)
		}
	}
	for {
		held, err := herd.Records(ctx)
		if err != nil {
			return err
		}
		full := 0
		for _, records := range held {
			if records >= b.Records {
				full++
			}
		}
		if full == len(herd.Ops) {
			return nil
		}
		select {
		case <-time.After(100 * time.Millisecond):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// nearBesideUpdates measures updates in herds with each of nearRates, in turn.
func (b *bench) nearBesideUpdates(ctx context.Context, r *NearResults) error {
	var herds []*rivals.Herd
	for range nearRates {
		herd, err := rivals.Serve("herd", "").StartHerd(ctx, b.lab)
		if err != nil {
			return err
		}
		defer herd.Stop()
		herds = append(herds, herd)
	}
	cpu := make([][]float64, len(herds))
	work := rivals.Workload{Connections: 8, Pipeline: 64, Clients: b.Clients, Duration: b.Duration, Count: b.Count}
	for round := range b.Rounds + 1 { // the first one warms up
		b.say("near: round %d of %d", round, b.Rounds)
		for turn := range herds {
			i := (turn + round) % len(herds)
			asking, end := context.WithCancel(ctx)
			ended := make(chan error, 1)
			go func() {
				if nearRates[i] == 0 {
					ended <- nil
					return
				}
				_, err := askNear(asking, herds[i].Bus, loadPlace, time.Hour, 8, nearRates[i])
				ended <- err
			}()
			out, err := herds[i].Run(ctx, work)
			end()
			if err = errors.Join(err, <-ended); err != nil {
				return err
			}
			if round > 0 {
				cpu[i] = append(cpu[i], out.CPUPerUpdate())
			}
		}
	}
	for i, rate := range nearRates {
		r.Updates = append(r.Updates, NearCost{Asked: rate, CPU: median(cpu[i]), Ratio: median(ratios(cpu[i], cpu[0]))})
	}
	return nil
}

// askNear makes askers request for a duration or until ctx ends, each as soon as it has its
// reply, or all together at a rate per second. It returns the times that replies took.
func askNear(ctx context.Context, url string, place func(*rand.Rand) string, d time.Duration, askers, rate int) (*load.Histogram, error) {
	ctx, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	var seen load.Histogram
	var mu sync.Mutex
	var all sync.WaitGroup
	var failed atomic.Pointer[error]
	fail := func(err error) {
		failed.CompareAndSwap(nil, &err)
		cancel()
	}
	const perConnection = 16
	var conn *nats.Conn
	for i := range askers {
		if i%perConnection == 0 {
			var err error
			if conn, err = nats.Connect(url); err != nil {
				fail(err)
				break
			}
			defer conn.Close()
		}
		nc := conn
		all.Go(func() {
			var own load.Histogram
			r := rand.New(rand.NewPCG(uint64(i), 1))
			for next := time.Now(); ctx.Err() == nil; {
				if rate > 0 {
					next = next.Add(time.Second * time.Duration(askers) / time.Duration(rate))
					select {
					case <-time.After(time.Until(next)):
					case <-ctx.Done():
						continue
					}
				}
				began := time.Now()
				m, err := nc.Request(status.NearEndpoint.Subject("herd", ""), []byte(place(r)+" 10 20"), 30*time.Second)
				switch {
				case err != nil:
					fail(err)
				case m.Header.Get(micro.ErrorCodeHeader) != "":
					fail(errors.New(m.Header.Get(micro.ErrorHeader)))
				case bytes.Count(m.Data, []byte("\n")) > 20 || len(m.Data) > 0 && !bytes.HasSuffix(m.Data, []byte("\n")):
					fail(fmt.Errorf("a reply of %d bytes has the wrong lines", len(m.Data)))
				default:
					own.Record(time.Since(began), 1)
				}
			}
			mu.Lock()
			defer mu.Unlock()
			seen.Add(&own)
		})
	}
	all.Wait()
	if err := failed.Load(); err != nil {
		return &seen, *err
	}
	return &seen, nil
}
