package node

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"io"
	"log/slog"
	"net"
	"strings"
	"testing"
	"time"
)

// unreadLimit is HERD_WRITE_TIMEOUT in these tests.
const unreadLimit = 2 * time.Second

// unreadServer is a server on TCP or TLS. dial connects a client whose kernel takes little.
func unreadServer(t *testing.T, secure bool) (n *Node, log *logBuffer, dial func() net.Conn) {
	limits := generous
	limits.Write = unreadLimit
	serverTLS, clientTLS := testTLS(t)
	log = &logBuffer{}
	n = New(Config{Name: "Solo", Limits: limits, Log: slog.New(slog.NewTextHandler(log, nil))})
	n.ready.open()
	return n, log, func() net.Conn {
		ours, theirs := tcpPair(t)
		if err := ours.SetReadBuffer(1 << 10); err != nil {
			t.Fatal(err)
		}
		var client net.Conn = ours
		if secure {
			theirs = tls.Server(patientConn{theirs, limits.Write}, serverTLS)
			client = tls.Client(ours, clientTLS)
		}
		n.clients.add(theirs)
		n.startSession(t.Context(), newSession(n, theirs, false))
		return client
	}
}

// invalidLines is lines whose replies are as long.
func invalidLines(bytes int) string {
	const line = 8000
	return strings.Repeat(strings.Repeat("x", line-1)+"\n", bytes/line)
}

// unacknowledgedByAll is the memory that the kernel keeps for replies to all clients.
func (n *Node) unacknowledgedByAll() (bytes int) {
	n.clients.each(func(c net.Conn) {
		waiting, _ := unacknowledged(c)
		bytes += waiting
	})
	return bytes
}

// TestUnread: a client that takes nothing of its replies is disconnected, also if the kernel
// has taken all of them, and the memory that they hold is bounded. Others stay: one that has
// its replies and says nothing, and one that sends all the time.
func TestUnread(t *testing.T) {
	t.Parallel()
	if _, known := unacknowledged(mustPair(t)); !known {
		t.Skip("the kernel does not tell what a client has taken")
	}
	for _, tt := range []struct {
		name    string
		secure  bool
		replies int // bytes
		then    func(net.Conn)
	}{
		{name: "the kernel takes all", replies: 80_000},
		{name: "the kernel takes all, TLS", secure: true, replies: 80_000},
		{name: "the kernel takes a part", replies: 1 << 20},
		{name: "the kernel takes a part, TLS", secure: true, replies: 1 << 20},
		{name: "half-closed", replies: 80_000, then: func(c net.Conn) { c.(*net.TCPConn).CloseWrite() }},
		{name: "sending", replies: 80_000, then: func(c net.Conn) {
			go func() {
				for {
					if _, err := io.WriteString(c, "y\n"); err != nil {
						return
					}
					time.Sleep(10 * time.Millisecond)
				}
			}()
		}},
		{name: "sending a line byte by byte", replies: 80_000, then: func(c net.Conn) {
			go func() {
				for {
					if _, err := io.WriteString(c, "y"); err != nil {
						return
					}
					time.Sleep(unreadLimit / 20)
				}
			}()
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			n, log, dial := unreadServer(t, tt.secure)
			idle := dial()
			write(t, idle, "x\n")
			if got, err := bufio.NewReader(idle).ReadString('\n'); got != "? x\n" || err != nil {
				t.Fatalf("%q, %v", got, err)
			}
			stuck := dial()
			began := time.Now()
			sent := make(chan struct{})
			go func() {
				defer close(sent)
				io.WriteString(stuck, invalidLines(tt.replies))
				if tt.then != nil {
					tt.then(stuck)
				}
			}()
			most := 0
			for open, _ := n.clients.counts(); open > 1; open, _ = n.clients.counts() {
				most = max(most, n.unacknowledgedByAll())
				time.Sleep(10 * time.Millisecond)
			}
			took := time.Since(began)
			if took < unreadLimit*3/4 || took > 20*unreadLimit {
				t.Errorf("disconnected after %v, want about %v", took, unreadLimit)
			}
			if most == 0 || most > 4*socketBuffer {
				t.Errorf("the kernel kept %d bytes of replies, want some, and not more than about %d", most, 2*socketBuffer)
			}
			if counted := n.refusals[writeTimeout].count.Load(); counted != 1 || strings.Count(log.String(), "clients disconnected: they did not read their replies") != 1 {
				t.Errorf("%d counted, want 1, and the log\n%s", counted, log)
			}
			write(t, idle, "still here\n")
			if got, err := bufio.NewReader(idle).ReadString('\n'); got != "? still here\n" || err != nil {
				t.Errorf("another client: %q, %v", got, err)
			}
			stuck.Close()
			<-sent
		})
	}
}

// TestResetUnread: a client that has reset its connection takes nothing more, and is not
// waited for: the kernel still counts what it had not acknowledged.
func TestResetUnread(t *testing.T) {
	t.Parallel()
	c, theirs := tcpPair(t)
	defer theirs.Close()
	if _, known := unacknowledged(theirs); !known {
		t.Skip("the kernel does not tell what a client has taken")
	}
	if err := c.SetReadBuffer(1 << 10); err != nil {
		t.Fatal(err)
	}
	write(t, theirs, invalidLines(400_000))
	var u unread
	if !u.stuck(theirs, time.Now(), 0) || !u.waits() {
		t.Error("a client that has taken nothing yet does not wait")
	}
	if err := c.SetLinger(0); err != nil { // so that Close resets
		t.Fatal(err)
	}
	c.Close()
	for u.stuck(theirs, time.Now(), 0) { // without end if a reset makes no difference
		time.Sleep(time.Millisecond)
	}
	if u.waits() {
		t.Error("replies wait for a client that is gone")
	}
}

// TestSlowUnread: a client gets all replies that the kernel has taken, although that takes
// longer than the limit, if it reads a little all the time; also after a half-close.
func TestSlowUnread(t *testing.T) {
	t.Parallel()
	for name, halfClose := range map[string]bool{"open": false, "half-closed": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n, _, dial := unreadServer(t, false)
			c := dial()
			sent := invalidLines(100_000)
			go func() {
				io.WriteString(c, sent)
				if halfClose {
					c.(*net.TCPConn).CloseWrite()
				}
			}()
			want := strings.ReplaceAll("\n"+sent, "\n", "\n? ")
			want = want[1 : len(want)-2]
			var got bytes.Buffer
			began := time.Now()
			for got.Len() < len(want) {
				// At this rate it takes 2.5 times the limit, whatever the machine's load.
				due := min(int(time.Since(began).Seconds()*20_000), len(want)) - got.Len()
				if _, err := io.CopyN(&got, c, int64(due)); err != nil {
					t.Fatalf("after %d of %d bytes, %v: %v", got.Len(), len(want), time.Since(began), err)
				}
				time.Sleep(20 * time.Millisecond)
			}
			if got.String() != want {
				t.Error("the replies are not those to the commands")
			}
			if counted := n.refusals[writeTimeout].count.Load(); counted != 0 {
				t.Errorf("%d clients counted as stuck", counted)
			}
		})
	}
}
