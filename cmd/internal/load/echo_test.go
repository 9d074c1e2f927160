package load

import (
	"bytes"
	"net"
	"testing"
	"time"
)

// TestNoAllocations: a command costs no allocation.
func TestNoAllocations(t *testing.T) {
	h := &herd{}
	r := &run{cfg: small(h.listen(t, "A")...), ctx: t.Context()}
	r.format = newFormat(r.cfg.Name, r.cfg.Clients)
	c, err := r.dial(0, &target{address: r.cfg.Addresses[0]})
	if err != nil {
		t.Fatal(err)
	}
	defer c.socket.Close()
	r.start = time.Now()
	c.prefix = []byte("AT A ")
	var replies []byte
	round := func() {
		c.prepare(16, 0, 0)
		replies = replies[:0]
		for line := range bytes.Lines(c.lines) {
			replies = append(append(replies, "AT A +0.000000001 "...), r.format.fields(line)...)
		}
		c.sent.Add(16)
		c.end = copy(c.in, replies)
		if err := c.check(0); err != nil || c.wrong > 0 || c.inFlight() > 0 {
			t.Fatal(err, c.wrong, c.inFlight())
		}
	}
	round()
	if n := testing.AllocsPerRun(100, round); n > 0 {
		t.Errorf("%v allocations for 16 commands", n)
	}
}

// BenchmarkEcho is what the generator can do: against a server that does as little
// as one can, in the same process, all its processors shared.
func BenchmarkEcho(b *testing.B) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer ln.Close()
	go func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			go echo(conn)
		}
	}()
	cfg := small(ln.Addr().String())
	cfg.Connections, cfg.Pipeline, cfg.Count, cfg.Settle = 8, 64, max(8, b.N), 0
	b.ReportAllocs()
	report, err := Run(b.Context(), cfg)
	if err != nil || report.Fault() != nil {
		b.Fatal(err, report.Fault())
	}
	b.ReportMetric(report.Answered(), "commands/s")
}

func echo(conn net.Conn) {
	in, out := make([]byte, 64<<10), make([]byte, 0, 128<<10)
	end := 0
	for {
		n, err := conn.Read(in[end:])
		if err != nil {
			conn.Close()
			return
		}
		end += n
		rest := in[:end]
		for {
			i := bytes.IndexByte(rest, '\n') + 1
			if i == 0 {
				break
			}
			out = append(append(out, "AT A +0.000000001 "...), rest[len(iamat):i]...)
			rest = rest[i:]
		}
		end = copy(in, rest)
		conn.Write(out)
		out = out[:0]
	}
}
