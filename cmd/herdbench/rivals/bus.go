package rivals

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"

	"herd/bus/topology"
	"herd/cmd/internal/freeport"
)

// busRival is the limit of the bus: records, 64 in a message, cross the edges of the herd
// over one nats-server. Servers relay messages without parsing them. There are no client
// connections.
type busRival struct{}

const linesAMessage = 64

func (busRival) Name() string { return busName }

// Relays are a nats-server and processes that relay messages that they have not seen.
type Relays struct {
	URL       string
	lab       *Lab
	processes []*Process
	names     []string
}

func (busRival) Start(ctx context.Context, lab *Lab) (System, error) {
	return StartRelays(ctx, lab, "Hands", "Holiday", "Welsh", "Wilkes")
}

// StartRelays starts relays that take the places of servers in the lab's topology.
func StartRelays(ctx context.Context, lab *Lab, names ...string) (*Relays, error) {
	r := &Relays{lab: lab, names: names}
	if err := r.start(ctx); err != nil {
		r.Stop()
		return nil, err
	}
	return r, nil
}

func (r *Relays) start(ctx context.Context) error {
	addresses, err := freeport.Addresses(1)
	if err != nil {
		return err
	}
	r.URL = "nats://" + addresses[0]
	broker, err := start(ctx, nil, r.lab.NATS, "-a", "127.0.0.1", "-p", port(addresses[0]))
	if err != nil {
		return err
	}
	r.processes = append(r.processes, broker)
	if err := broker.awaitPort(ctx, addresses[0]); err != nil {
		return err
	}
	for _, name := range r.names {
		p, err := start(ctx, child("relay"), r.lab.Self, name, r.URL)
		if err != nil {
			return err
		}
		r.processes = append(r.processes, p)
		if err := p.awaitOutput(ctx, "ready"); err != nil {
			return err
		}
	}
	return nil
}

func (r *Relays) Processes() []*Process { return r.processes }
func (r *Relays) Stop()                 { stop(r.processes) }

// EdgeSubject is the subject of one direction of an edge between relays.
func EdgeSubject(from, to string) string { return "bench.edge." + from + "." + to }

const seenSubject = "bench.seen."

// runRelay relays messages from each neighbour to the others, if their number is greater
// than any before. Messages begin with their number and LF.
func runRelay(args []string) error {
	name, url := args[0], args[1]
	graph, err := topology.Load("goloman")
	if err != nil {
		return err
	}
	nc, err := nats.Connect(url)
	if err != nil {
		return err
	}
	var newest int
	neighbours := graph.Neighbours(name)
	messages := make(chan *nats.Msg, 1<<16) // one channel for all edges
	if _, err := nc.ChanSubscribe(EdgeSubject("*", name), messages); err != nil {
		return err
	}
	if err := nc.Flush(); err != nil {
		return err
	}
	fmt.Println("ready")
	edge := len(EdgeSubject("", "")) - 1
	for m := range messages {
		head, _, _ := bytes.Cut(m.Data, []byte("\n"))
		number, err := strconv.Atoi(string(head))
		if err != nil {
			return err
		}
		if number <= newest {
			continue
		}
		newest = number
		from := m.Subject[edge : len(m.Subject)-len(name)-1]
		for _, to := range neighbours {
			if to != from {
				if err := nc.Publish(EdgeSubject(name, to), m.Data); err != nil {
					return err
				}
			}
		}
		if number%ackEvery == 0 {
			if err := nc.Publish(seenSubject+name, head); err != nil {
				return err
			}
		}
	}
	return nil
}

const (
	window   = 128 // messages in flight
	ackEvery = 16  // messages that a relay acknowledges together
)

// sourced is the result of a source.
type sourced struct {
	Lines   int
	Seconds float64
}

// Run starts a source, in its own process, in the place of the first server.
func (r *Relays) Run(ctx context.Context, w Workload) (Outcome, error) {
	if w.All || w.Pipeline < linesAMessage {
		return Outcome{}, ErrCannot
	}
	source := exec.CommandContext(ctx, r.lab.Self, append([]string{"Goloman", r.URL, w.Duration.String(), strconv.Itoa(w.Count)}, r.names...)...)
	source.Env = append(os.Environ(), child("source")...)
	source.Stderr = os.Stderr
	before := CPU(r.processes)
	output, err := source.Output()
	if err != nil {
		return Outcome{}, fmt.Errorf("source: %w", err)
	}
	var result sourced
	if err := json.Unmarshal(output, &result); err != nil {
		return Outcome{}, fmt.Errorf("source: %w: %s", err, output)
	}
	used := CPU(r.processes) - before + source.ProcessState.UserTime() + source.ProcessState.SystemTime()
	return Outcome{Updates: result.Lines, Replicated: float64(result.Lines) / result.Seconds, CPU: used}, nil
}

// runSource sends messages over the edges of a server until the duration or the number of
// lines is reached and all relays have the last message. It prints the result.
func runSource(args []string) error {
	name, url, others := args[0], args[1], args[4:]
	duration, err := time.ParseDuration(args[2])
	if err != nil {
		return err
	}
	count, err := strconv.Atoi(args[3])
	if err != nil {
		return err
	}
	graph, err := topology.Load("goloman")
	if err != nil {
		return err
	}
	nc, err := nats.Connect(url)
	if err != nil {
		return err
	}
	defer nc.Close()
	acks := make(chan *nats.Msg, 1<<12)
	if _, err := nc.ChanSubscribe(seenSubject+"*", acks); err != nil {
		return err
	}
	seen := map[string]int{}
	// Numbers start at the clock, so that those of the next source are greater.
	first := int(time.Now().UnixMicro()) / ackEvery * ackEvery
	for _, o := range others {
		seen[o] = first
	}
	await := func(until int) error { // returns once all have seen a number
		for _, o := range others {
			for seen[o] < until {
				select {
				case m := <-acks:
					n, err := strconv.Atoi(string(m.Data))
					if err != nil {
						return err
					}
					seen[m.Subject[len(seenSubject):]] = n
				case <-time.After(patience):
					return fmt.Errorf("%s has not seen message %d of %d", o, until-first, seen[o]-first)
				}
			}
		}
		return nil
	}
	var message, lines []byte
	for i := range linesAMessage {
		lines = fmt.Appendf(lines, "AT Goloman +0.000123456 bench.%05d +34.068930-118.445127 1621464827.959498503\n", i)
	}
	begin := time.Now()
	number := first
	for number%ackEvery != 0 || number == first || time.Since(begin) < duration && (number-first)*linesAMessage < count {
		number++
		message = append(strconv.AppendInt(message[:0], int64(number), 10), '\n')
		message = append(message, lines...)
		for _, to := range graph.Neighbours(name) {
			if err := nc.Publish(EdgeSubject(name, to), message); err != nil {
				return err
			}
		}
		if number%ackEvery == 0 {
			if err := await(number - window); err != nil {
				return err
			}
		}
	}
	if err := await(number); err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(sourced{(number - first) * linesAMessage, time.Since(begin).Seconds()})
}
