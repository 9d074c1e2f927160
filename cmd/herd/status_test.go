package main

import (
	"net"
	"os"
	"strings"
	"testing"
	"time"
)

// silentListener accepts connections and says nothing. It returns its URL as a NATS server,
// and a channel that gets a value for each connection.
func silentListener(t *testing.T) (url string, accepted <-chan bool) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	connected := make(chan bool, 1000)
	go func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			defer conn.Close()
			connected <- true
		}
	}()
	t.Cleanup(func() { ln.Close() })
	return "nats://" + ln.Addr().String(), connected
}

// TestStatusWaitSilent: what is no NATS server does not make --wait longer than asked for, and
// the error says what it may be.
func TestStatusWaitSilent(t *testing.T) {
	t.Parallel()
	url, accepted := silentListener(t)
	p := start(t, []string{"HERD_NATS_URL=" + url}, "status", "--wait", "1ms")
	status := p.status()
	if status != exitFailure || !strings.Contains(p.stderr.String(), "connected, but no NATS server replied (") ||
		!strings.Contains(p.stderr.String(), "is HERD_NATS_URL the address of a NATS server?\n") {
		t.Errorf("exit status %d, %s", status, p.stderr.String())
	}
	if n := len(accepted); n != 1 { // the first request lasts longer than the wait
		t.Errorf("%d requests with --wait 1ms, want 1", n)
	}
	for _, tt := range []struct{ wait, left, want time.Duration }{
		{0, -time.Second, askTimeout}, {time.Second, time.Second, time.Second}, {time.Hour, time.Hour, askTimeout},
		{time.Hour, time.Millisecond, replyTimeout}, {time.Hour, 3 * time.Second, 3 * time.Second},
	} {
		if got := (statusCommand{Wait: tt.wait}).timeout(tt.left); got != tt.want {
			t.Errorf("with --wait %v, and %v left, a request may take %v, want %v", tt.wait, tt.left, got, tt.want)
		}
	}
}

// TestInterruptedTools: SIGINT ends the commands that use the bus while a broker is silent.
func TestInterruptedTools(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{{"status", "--wait", "1h"}, {"get", "kiwi"}, {"reload", "Welsh"}} {
		t.Run(args[0], func(t *testing.T) {
			t.Parallel()
			url, accepted := silentListener(t)
			p := start(t, []string{"HERD_NATS_URL=" + url}, args...)
			<-accepted
			p.signal(os.Interrupt)
			if status := p.status(); status != exitFailure || !strings.Contains(p.stderr.String(), "interrupted\n") {
				t.Errorf("exit status %d, %s", status, p.stderr.String())
			}
			if n := len(accepted); n != 0 {
				t.Errorf("%d more connections after SIGINT", n)
			}
		})
	}
}

// TestStatusFlags: flags that make no sense are refused.
func TestStatusFlags(t *testing.T) {
	t.Parallel()
	for want, args := range map[string][]string{
		"--wait: -5s is less than 0":                                             {"--wait=-5s"},
		"--interval: requires --watch":                                           {"--interval=1s"},
		"--interval: 1ms is not at least":                                        {"--watch", "--interval=1ms"},
		"--wait: requires a duration, such as 30s or 10m (see herd help status)": {"--wait"},
		"--wait: \"30\" is not a duration":                                       {"--wait=30"},
	} {
		p := start(t, nil, append([]string{"status"}, args...)...)
		if status := p.status(); status != exitUsage || !strings.Contains(p.stderr.String(), want) {
			t.Errorf("%q: exit status %d, %s, want %q", args, status, p.stderr.String(), want)
		}
	}
}
