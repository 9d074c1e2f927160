package rivals

import (
	"bytes"
	"context"
	"net"
	"time"

	"herd/cmd/internal/freeport"
	"herd/node/wire"
)

// echoRival is the limit of the sockets: it parses each line and answers it, without
// state.
type echoRival struct{}

func (echoRival) Name() string { return EchoName }

func (echoRival) Start(ctx context.Context, lab *Lab) (System, error) {
	addresses, err := freeport.Addresses(1)
	if err != nil {
		return nil, err
	}
	p, err := start(ctx, child("echo"), lab.Self, addresses[0])
	if err != nil {
		return nil, err
	}
	s := &lines{addresses: addresses, processes: []*Process{p}, stateless: true}
	if err := p.awaitPort(ctx, addresses[0]); err != nil {
		s.Stop()
		return nil, err
	}
	return s, nil
}

func runEcho(args []string) error {
	ln, err := net.Listen("tcp", args[0])
	if err != nil {
		return err
	}
	for {
		conn, err := ln.Accept()
		if err != nil {
			return err
		}
		go echo(conn)
	}
}

// echo answers all commands of one read with one write.
func echo(conn net.Conn) {
	defer conn.Close()
	in, out := make([]byte, 64<<10), make([]byte, 0, 128<<10)
	end := 0
	for {
		n, err := conn.Read(in[end:])
		if err != nil {
			return
		}
		end += n
		rest := in[:end]
		for {
			i := bytes.IndexByte(rest, '\n')
			if i < 0 {
				break
			}
			line := rest[:i]
			if c := wire.ParseCommand(line); c.Verb == wire.IAmAt {
				out, _ = wire.AppendRecord(out, "Echo", c, wire.InstantOf(time.Now()))
				out = append(out, '\n')
			} else {
				out = wire.AppendInvalid(out, line)
			}
			rest = rest[i+1:]
		}
		end = copy(in, rest)
		if end == len(in) {
			return
		}
		if _, err := conn.Write(out); err != nil {
			return
		}
		out = out[:0]
	}
}
