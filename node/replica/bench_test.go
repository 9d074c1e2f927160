package replica

import (
	"fmt"
	"testing"
	"time"

	"herd/node/wire"
)

// BenchmarkReport is the cost of a report at its origin, by the number of clients. One op
// is one report.
func BenchmarkReport(b *testing.B) {
	for _, clients := range []int{1000, 1_000_000} {
		b.Run(fmt.Sprintf("clients=%d", clients), func(b *testing.B) {
			r := bringUp(New(Config{Name: "A", Topology: Topology{Neighbours: []string{"B", "C", "D"}, Hash: 7}, Epoch: ourEpoch}), time.Now())
			commands := make([]wire.Command, clients)
			for i := range commands {
				commands[i] = wire.ParseCommand(fmt.Appendf(nil, "IAMAT client%d.example +34.068930-118.445127 1700000000.5", scattered(i, clients)))
			}
			var reply []byte
			now := time.Now()
			for i := 0; b.Loop(); i++ {
				c := commands[i%clients]
				c.Time.Sec += int64(i / clients)
				reply, _, _ = r.IAmAt(reply[:0], c, now)
				drain(r)
			}
		})
	}
}

// BenchmarkFrame is the cost of a frame from a neighbour, by the number of clients: all
// its lines are duplicates, or all are news. One op is one frame.
func BenchmarkFrame(b *testing.B) {
	const lines = 64
	for _, clients := range []int{1 << 10, 1 << 20} {
		r := bringUp(New(Config{Name: "A", Topology: Topology{Neighbours: []string{"B", "C", "D"}, Hash: 7}, Epoch: ourEpoch}), time.Now())
		frames := make([][]byte, clients/lines)
		for f := range frames {
			for i := range lines {
				frames[f] = fmt.Appendf(frames[f], "AT Goloman +0.263873386 client%d.example +34.068930-118.445127 1700000000.959498503\n",
					scattered(f*lines+i, clients))
			}
			r.Frame(0, wire.Mark{}, frames[f], time.Now())
		}
		later := func(frame []byte) { // makes all records newer, by one second
			for end := range frame {
				if frame[end] != '\n' {
					continue
				}
				for digit := end - len(".959498503") - 1; ; digit-- {
					if frame[digit]++; frame[digit] <= '9' {
						break
					}
					frame[digit] = '0'
				}
			}
		}
		run := func(name string, prepare func([]byte), want func(FrameResult) int) {
			b.Run(fmt.Sprintf("%s/clients=%d", name, clients), func(b *testing.B) {
				now := time.Now()
				for n := 0; b.Loop(); n++ {
					frame := frames[n%len(frames)]
					prepare(frame)
					if in, _ := r.Frame(0, wire.Mark{}, frame, now); want(in) != lines {
						b.Fatal(in)
					}
					drain(r)
				}
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*lines), "ns/line")
			})
		}
		run("duplicate", func([]byte) {}, func(in FrameResult) int { return in.Duplicates })
		run("news", later, func(in FrameResult) int { return in.News })
	}
}

// scattered maps the numbers below n one to one to each other, if n is a power of two or
// of ten. It spreads neighbouring numbers.
func scattered(i, n int) int { return i * 7_368_787 % n }

// drain empties the live queues, as sending does.
func drain(r *Replica) {
	for e := range r.edges {
		o := &r.edges[e].live
		for id, ok := o.peek(); ok; id, ok = o.peek() {
			o.pop(id)
		}
	}
}

// BenchmarkExpire is the cost of letting a million records expire, with three neighbours, in the parts that a server does while it
// holds its lock. One op is one part: most mark records, or remove them.
func BenchmarkExpire(b *testing.B) {
	const clients, part = 1_000_000, 256
	now := time.Unix(1_700_000_000, 0)
	var r *Replica
	var longest time.Duration
	more := false
	for i := 0; b.Loop(); i++ {
		if !more {
			b.StopTimer()
			r = New(Config{Name: "A", Topology: Topology{Neighbours: []string{"B", "C", "D"}, Hash: 7}, Epoch: ourEpoch, Keep: time.Hour})
			r.BeginExpiry(now)
			r.Tick(now.Add(clockAlone))
			for i := range clients {
				c := wire.ParseCommand(fmt.Appendf(nil, "IAMAT client%d.example +34.068930-118.445127 %d.5", scattered(i, clients), now.Unix()))
				if _, _, err := r.IAmAt(nil, c, now.Add(clockAlone+time.Duration(i)*time.Millisecond)); err != nil {
					b.Fatal(err)
				}
			}
			r.Tick(now.Add(3 * time.Hour))
			if r.ExpiryPaused() != "" {
				b.Fatal(r.ExpiryPaused())
			}
			b.StartTimer()
		}
		began := time.Now()
		more = r.Expire(part)
		longest = max(longest, time.Since(began))
	}
	b.ReportMetric(float64(longest.Microseconds()), "longest-µs")
}
