package node

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// TestLimits: each limit is enforced, and does not affect other clients.
func TestLimits(t *testing.T) {
	t.Run("idle", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			h := newSolo(t, func(cfg *Config) { cfg.Limits.Idle = time.Minute })
			settle()
			c := h.dial("Solo")
			for range 5 { // lines keep it open, valid or not
				time.Sleep(50 * time.Second)
				c.ask("x")
			}
			lastLine := time.Now()
			stopped := make(chan struct{})
			go func() { // bytes without LF do not
				defer close(stopped)
				for err := error(nil); err == nil; {
					time.Sleep(time.Second)
					_, err = io.WriteString(c.conn, "y")
				}
			}()
			if rest, err := io.ReadAll(c.r); err != nil || len(rest) > 0 {
				t.Errorf("the idle client read %q, %v, want the end", rest, err)
			}
			if waited := time.Since(lastLine); waited < 50*time.Second || waited > time.Minute {
				t.Errorf("it was closed after %v, want about a minute", waited)
			}
			h.dial("Solo").ask("x")
			h.wantRefusals("Solo", "idle", 1)
			c.conn.Close()
			<-stopped
		})
	})
	t.Run("write", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			h := newSolo(t, func(cfg *Config) { cfg.Limits.Write = time.Minute })
			settle()
			c := h.dial("Solo")
			began := time.Now()
			c.send("x\ny\n")
			time.Sleep(2 * time.Minute) // reads nothing
			if rest, err := io.ReadAll(c.r); len(rest) > 0 {
				t.Errorf("after %v it read %q, %v, want the end", time.Since(began), rest, err)
			}
			h.dial("Solo").ask("x")
			h.wantRefusals("Solo", "write_timeout", 1)
		})
	})
	t.Run("connections", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			h := newSolo(t, func(cfg *Config) { cfg.Limits.Conns = 2 })
			settle()
			first, second := h.dial("Solo"), h.dial("Solo")
			first.ask("x")
			second.ask("x")
			h.wantClosed(h.dial("Solo"))
			second.ask("x")
			first.conn.Close()
			settle()
			h.dial("Solo").ask("x")
			h.wantRefusals("Solo", "connections", 1)
		})
		synctest.Test(t, func(t *testing.T) { // clients that come and go are logged once a second
			var log logBuffer
			h := newSolo(t, func(cfg *Config) {
				cfg.Limits.Conns = 1
				cfg.Log = slog.New(slog.NewTextHandler(&log, nil))
			})
			settle()
			for range 500 {
				c := h.dial("Solo")
				h.wantClosed(h.dial("Solo"))
				c.conn.Close()
				time.Sleep(10 * time.Millisecond)
			}
			time.Sleep(2 * time.Second)
			lines, refused := 0, 0
			for line := range strings.Lines(log.String()) {
				if _, n, ok := strings.Cut(line, "connections refused: too many are open\" node=Solo count="); ok {
					lines++
					var count int
					fmt.Sscan(n, &count)
					refused += count
				}
			}
			if lines > 7 || refused != 500 {
				t.Errorf("%d lines for %d of 500 connections that were refused in 5 s", lines, refused)
			}
		})
	})
	t.Run("file descriptors", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			var log logBuffer
			h := newSolo(t, func(cfg *Config) {
				cfg.Limits.Files = 2
				cfg.Log = slog.New(slog.NewTextHandler(&log, nil))
			})
			settle()
			open := []*client{h.dial("Solo"), h.dial("Solo")}
			for range 20 { // the next one waits until another has gone
				waiting := make(chan *client)
				go func() { waiting <- h.dial("Solo") }()
				settle()
				select {
				case <-waiting:
					t.Fatal("a third connection was accepted")
				default:
				}
				if got := open[0].ask("x"); got != "? x\n" {
					t.Fatalf("reply %q", got)
				}
				open[0].conn.Close()
				open = []*client{open[1], <-waiting}
			}
			time.Sleep(2 * shortageOver)
			if n := strings.Count(log.String(), "clients wait for file descriptors"); n != 1 {
				t.Errorf("%d lines say that clients wait, want 1:\n%s", n, log.String())
			}
			open[0].conn.Close()
			settle()
			open[0] = h.dial("Solo")
			time.Sleep(2 * shortageOver)
			if !strings.Contains(log.String(), "clients no longer wait") {
				t.Errorf("no line says that clients no longer wait:\n%s", log.String())
			}
			stopped := make(chan error)
			go func() { stopped <- h.servers["Solo"].stop() }()
			if err := <-stopped; err != nil {
				t.Errorf("Run = %v", err)
			}
		})
	})
	t.Run("connections of one address", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			h := newSolo(t, func(cfg *Config) { cfg.Limits.Conns = 4 })
			settle()
			far, farther := net.IPv4(203, 0, 113, 1), net.IPv4(203, 0, 113, 2)
			first, second := h.dialFrom("Solo", far), h.dialFrom("Solo", far)
			first.ask("x")
			second.ask("x")
			h.wantClosed(h.dialFrom("Solo", far))
			h.dialFrom("Solo", farther).ask("x")
			first.conn.Close()
			settle()
			h.dialFrom("Solo", far).ask("x")
			h.wantRefusals("Solo", "address_connections", 1)
			if refused := h.servers["Solo"].node.Stats().Refused; refused != 1 {
				t.Errorf("%d connections were refused because too many are open, want 1", refused)
			}
		})
		synctest.Test(t, func(t *testing.T) {
			h := newSolo(t, func(cfg *Config) { cfg.Limits.Conns = 4 })
			settle()
			for range 4 { // the limit does not apply to loopback
				h.dialFrom("Solo", net.IPv4(127, 0, 0, 1)).ask("x")
			}
		})
	})
	t.Run("clients", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			h := newSolo(t, func(cfg *Config) { cfg.Limits.Clients = 1 })
			settle()
			c := h.dial("Solo")
			c.ask("IAMAT kiwi +1+1 1")
			if got, want := c.ask("IAMAT emu +1+1 1"), "? IAMAT emu +1+1 1\n"; got != want {
				t.Errorf("the reply to a new client is %q, want %q", got, want)
			}
			if got := c.ask("IAMAT kiwi +1+1 2"); !strings.HasPrefix(got, "AT ") {
				t.Errorf("the reply to a known client is %q, want a record", got)
			}
			h.wantRefusals("Solo", "clients", 1)
		})
	})
}

// failingListener is out of file descriptors for a number of calls.
type failingListener struct {
	net.Listener
	failures *int // still to come
}

func (l failingListener) Accept() (net.Conn, error) {
	if *l.failures > 0 {
		*l.failures--
		return nil, syscall.EMFILE
	}
	return l.Listener.Accept()
}

// TestAcceptFails: a server that is out of file descriptors tries again after a growing
// pause, and logs one line.
func TestAcceptFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log logBuffer
		failures := 10
		n := New(Config{
			Name: "Solo", Epoch: 1, Limits: generous, Bus: newTestHerd(t, "Solo").network.Bus("Solo"), Places: noPlaces{},
			Log: slog.New(slog.NewTextHandler(&log, nil)),
		})
		ln := newPipeListener()
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- n.Run(ctx, failingListener{ln, &failures}) }()
		began := time.Now()
		conn := ln.dial(nil)
		defer conn.Close()
		if took := time.Since(began); took < 3*time.Second || took > 5*time.Second {
			t.Errorf("a connection was accepted after %v, want 10 pauses of 5 ms to a second", took)
		}
		time.Sleep(2 * shortageOver)
		if text := log.String(); strings.Count(text, "clients wait for file descriptors") != 1 || !strings.Contains(text, "clients no longer wait for file descriptors\" node=Solo waits=10 ") {
			t.Errorf("the log does not say once that clients wait, and how often they did:\n%s", text)
		}
		stop()
		if err := <-ended; err != nil {
			t.Errorf("Run = %v", err)
		}
	})
}
