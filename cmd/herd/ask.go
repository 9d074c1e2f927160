package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/alecthomas/kong"

	"herd/bus/plural"
	"herd/bus/printable"
)

type askCommand struct {
	Words []rawText `arg:"" optional:"" name:"server-or-line" predictor:"server" help:"A server of the topology or an address HOST:PORT (default: HERD_NAME, or else the first server), and then the lines to send, each in quotes. Without lines, those of standard input."`
	tlsFlags
	Timeout time.Duration `default:"15s" help:"Maximum time to connect, and to wait for the next reply."`
}

// Help is shown by herd ask --help.
func (askCommand) Help() string {
	return `An argument without white space before all lines is a server. Examples:

    herd ask "IAMAT kiwi +34.068930-118.445127 $(date +%s)"
    herd ask Welsh 'WHATSAT kiwi 10 2'
    herd ask -- Welsh '-a line that begins with a hyphen'
    herd ask 127.0.0.1:12001 < lines`
}

// rawText is an argument with all its bytes. In a string, kong replaces what is not UTF-8.
type rawText string

// Decode implements kong.MapperValue.
func (r *rawText) Decode(ctx *kong.DecodeContext) error {
	token, err := ctx.Scan.PopValue("text")
	if err != nil {
		return err
	}
	*r = rawText(strings.TrimPrefix(token.String(), rawLocation))
	return nil
}

// verbs are the commands of the client protocol.
var verbs = []string{"IAMAT", "WHATSAT"}

// Run sends the lines and prints the replies, until each line is answered.
func (a askCommand) Run(ctx context.Context, c console) error {
	server, lines, err := a.split()
	if err == nil && a.Timeout <= 0 {
		err = fmt.Errorf("--timeout: %v is not more than 0", a.Timeout)
	}
	if err != nil {
		return usageError{fmt.Errorf("ask: %w", err)}
	}
	address, err := askAddress("ask", server, func(c *checker, s settings) {
		if len(lines) == 0 {
			c.fault("ask", "a line of one word needs a server before it: herd ask %s %s", s.graph.Servers()[0], shellWord(server))
		} else {
			c.fault("ask", "give a server, or its address such as 127.0.0.1:12000, before lines; put each line in quotes")
		}
	})
	if err != nil {
		return err
	}
	config, err := a.config()
	if err != nil {
		return usageError{fmt.Errorf("ask: %w", err)}
	}
	conn, err := dialClient(ctx, address, config, a.Timeout)
	if err != nil {
		return fmt.Errorf("ask: %w", dialHint(err, address, server == ""))
	}
	defer conn.Close()
	input := io.Reader(strings.NewReader(strings.Join(lines, "\n") + "\n"))
	if len(lines) == 0 {
		input = os.Stdin
		if isTerminal(os.Stdin) {
			fmt.Fprintf(c.Err, "Connected to %s. Type commands, one per line; Ctrl-D ends.\n", address)
		}
	}
	output := c.stdout // replies are copies of the client's bytes
	if isTerminal(c.stdout) {
		output = c.Out
	}
	return a.converse(ctx, conn, input, output)
}

// split splits the arguments into the server, "" if there is none, and the lines.
func (a askCommand) split() (server string, lines []string, err error) {
	for _, w := range a.Words {
		lines = append(lines, string(w))
	}
	if len(lines) > 0 && lines[0] != "" && !strings.ContainsAny(lines[0], whiteSpace) && !slices.Contains(verbs, lines[0]) {
		server, lines = lines[0], lines[1:]
	}
	if len(lines) > 1 && slices.Contains(verbs, lines[0]) {
		return "", nil, fmt.Errorf("each command must be one argument: put it in quotes, as in '%s'", printable.Line(strings.Join(lines, " ")))
	}
	return server, lines, nil
}

// whiteSpace separates the fields of a command.
const whiteSpace = " \t\n\v\f\r"

// askAddress is the address of a server, for a command. The server is an address or the name of
// a server of the topology; "" is the server of this environment. unknown adds what to do if it
// is none of these.
func askAddress(command, server string, unknown func(*checker, settings)) (string, error) {
	if strings.Contains(server, ":") {
		_, faults, err := readEnvironment()
		if err != nil {
			return "", err
		}
		c := checker{faults: faults}
		c.address(command, server)
		return server, usageOf(c.faults)
	}
	s, err := loadSettings(enoughPorts, func(c *checker, s settings) {
		if server != "" && s.graph != nil && s.graph.Index(server) < 0 {
			c.isServer(command, server, s)
			unknown(c, s)
		}
		if server == "" && s.name != "" {
			c.isServer("HERD_NAME", s.name, s)
		}
	})
	if err != nil {
		return "", err
	}
	if server == "" {
		if server = s.name; server == "" {
			server = s.graph.Servers()[0]
		}
	}
	return s.serverAddress(server)
}

// conversation is the state that the sender and the receiver of lines share.
type conversation struct {
	conn    halfCloser
	timeout time.Duration
	// pending has an entry for each line whose reply is not complete, in order: whether it is
	// a WHATSAT. The sender waits when it is full, and closes it behind the last line.
	pending chan bool
	sent    atomic.Uint64 // lines
}

// converse sends input and copies the replies to output as they arrive. It returns when each
// line of input is answered.
func (a askCommand) converse(ctx context.Context, conn halfCloser, input io.Reader, output io.Writer) error {
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	v := &conversation{conn: conn, timeout: a.Timeout, pending: make(chan bool, 4096)}
	sending := make(chan error, 1)
	go func() { sending <- v.send(input) }()
	answered, err := v.receive(ctx, output)
	switch {
	case ctx.Err() != nil && v.sent.Load() == answered:
		return nil
	case ctx.Err() != nil:
		return fmt.Errorf("ask: interrupted: %s", v.missing(answered))
	case err != nil:
		return fmt.Errorf("ask: %w", err)
	}
	if err := <-sending; err != nil {
		return fmt.Errorf("ask: %w", err)
	}
	return nil
}

func (v *conversation) missing(answered uint64) string {
	sent := v.sent.Load()
	return fmt.Sprintf("%s %s no complete reply", plural.Of(sent-answered, sent, "line"), plural.Form(sent-answered, "has", "have"))
}

// send sends the lines of input, and then closes the sending side of the connection. It
// returns an error of the input; the receiver sees those of the connection.
func (v *conversation) send(input io.Reader) error {
	defer close(v.pending)
	defer v.conn.CloseWrite()
	r := bufio.NewReaderSize(input, 64<<10)
	for begins := true; ; {
		part, err := r.ReadSlice('\n') // of a line that is larger than the buffer
		if len(part) > 0 {
			if begins {
				v.sent.Add(1)
				v.pending <- isWhatsAt(part)
			}
			begins = part[len(part)-1] == '\n'
			v.conn.SetWriteDeadline(time.Now().Add(v.timeout))
			if _, err := v.conn.Write(part); err != nil {
				return nil
			}
		}
		switch {
		case err == nil || errors.Is(err, bufio.ErrBufferFull):
		case errors.Is(err, io.EOF):
			return nil
		default:
			return fmt.Errorf("reading lines: %w", err)
		}
	}
}

// isWhatsAt reports whether the verb of a line is WHATSAT.
func isWhatsAt(line []byte) bool {
	verb := bytes.TrimLeft(line, whiteSpace)
	if end := bytes.IndexAny(verb, whiteSpace); end >= 0 {
		verb = verb[:end]
	}
	return string(verb) == "WHATSAT"
}

// receive copies the replies to output until all lines are sent and answered. It returns how
// many are.
func (v *conversation) receive(ctx context.Context, output io.Writer) (answered uint64, err error) {
	r := bufio.NewReaderSize(v.conn, 64<<10)
	w := bufio.NewWriterSize(output, 64<<10)
	defer w.Flush()
	for {
		var whatsAt, open bool
		select {
		case whatsAt, open = <-v.pending:
		case <-ctx.Done():
			return answered, ctx.Err()
		}
		if !open {
			return answered, nil
		}
		if err := v.receiveReply(r, w, whatsAt); err != nil {
			w.Flush()
			return answered, v.explain(err, answered)
		}
		answered++
		if r.Buffered() == 0 { // the reader waits for what comes next
			if err := w.Flush(); err != nil {
				return answered, err
			}
		}
	}
}

// receiveReply copies one reply: a line, or for a WHATSAT that is valid the lines up to an
// empty one.
func (v *conversation) receiveReply(r *bufio.Reader, w *bufio.Writer, whatsAt bool) error {
	for first := true; ; first = false {
		begin, size, err := v.copyLine(r, w)
		if err != nil {
			return err
		}
		if first && !(whatsAt && string(begin) == "AT ") || size == 1 {
			return nil
		}
	}
}

// copyLine copies a line, and returns its beginning and its size.
func (v *conversation) copyLine(r *bufio.Reader, w *bufio.Writer) (begin []byte, size int, err error) {
	for {
		if r.Buffered() == 0 {
			if err := w.Flush(); err != nil {
				return nil, 0, err
			}
			v.conn.SetReadDeadline(time.Now().Add(v.timeout))
		}
		part, err := r.ReadSlice('\n')
		if size == 0 {
			begin = bytes.Clone(part[:min(3, len(part))])
		}
		size += len(part)
		if _, err := w.Write(part); err != nil {
			return nil, 0, err
		}
		if !errors.Is(err, bufio.ErrBufferFull) {
			return begin, size, err
		}
	}
}

// explain says what a failure to receive a reply means.
func (v *conversation) explain(err error, answered uint64) error {
	_, encrypted := v.conn.(*tls.Conn)
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return fmt.Errorf("no reply within %v: %s", v.timeout, v.missing(answered))
	case !errors.Is(err, io.EOF) && !errors.Is(err, syscall.ECONNRESET):
		return err
	case answered == 0 && !encrypted:
		return fmt.Errorf("the server closed the connection without a reply: if it uses TLS, add --tls or --ca FILE")
	}
	return fmt.Errorf("the server closed the connection: %s", v.missing(answered))
}
