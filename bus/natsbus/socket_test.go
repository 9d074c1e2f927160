package natsbus

import (
	"bytes"
	"errors"
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"
)

// TestSocketHolds: what is written to a corked socket leaves in one write, at the
// first uncork, and in order.
func TestSocketHolds(t *testing.T) {
	near, far := net.Pipe() // of which a read never takes more than one write
	defer near.Close()
	s := newSocket(near)
	for range 2 {
		if err := s.cork(); err != nil {
			t.Fatal(err)
		}
	}
	read := make(chan string, 3)
	go func() {
		for {
			b := make([]byte, 100)
			n, err := far.Read(b)
			if err != nil {
				return
			}
			read <- string(b[:n])
		}
	}()
	for _, text := range []string{"one ", "two "} {
		if _, err := s.Write([]byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	for _, after := range []string{"three", "four"} {
		if err := s.uncork(); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Write([]byte(after)); err != nil {
			t.Fatal(err)
		}
	}
	for _, want := range []string{"one two ", "three", "four"} {
		if got := <-read; got != want {
			t.Errorf("the other end read %q, want %q", got, want)
		}
	}
}

// TestSocketStalled: a broker that reads nothing blocks the first writer for writeTimeout
// and others not at all. What was written before is sent, in order, once the broker reads
// again. A broker that reads nothing for stallTimeout is disconnected.
func TestSocketStalled(t *testing.T) {
	for name, after := range map[string]time.Duration{"for a while": stallTimeout / 2, "permanently": 2 * stallTimeout} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				near, far := net.Pipe()
				defer near.Close()
				s := newSocket(near)
				began := time.Now()
				s.cork()
				s.Write([]byte("one "))
				if err := s.uncork(); !errors.Is(err, errStalled) || time.Since(began) != writeTimeout {
					t.Errorf("uncork = %v after %v, want %v after %v", err, time.Since(began), errStalled, writeTimeout)
				}
				if err := s.cork(); !errors.Is(err, errStalled) {
					t.Errorf("cork of a stalled socket = %v, want %v", err, errStalled)
				}
				if _, err := s.Write([]byte("two")); err != nil { // nats.go's own
					t.Error(err)
				}
				if took := time.Since(began); took != writeTimeout {
					t.Errorf("all that took %v, want %v", took, writeTimeout)
				}
				time.Sleep(after)
				if after > stallTimeout {
					if _, err := s.Write([]byte("three")); err == nil || s.cork() == nil {
						t.Error("a closed socket accepts more")
					}
					return
				}
				var got bytes.Buffer
				io.CopyN(&got, far, int64(len("one two")))
				synctest.Wait()
				if got.String() != "one two" || s.cork() != nil || s.uncork() != nil {
					t.Errorf("the other end read %q, want %q and a socket that works", got.String(), "one two")
				}
			})
		})
	}
}

// TestSocketStalledUncorked: what nats.go itself writes, with its lock held, waits for a
// stalled broker no longer than others do, and is sent once the broker reads again.
func TestSocketStalledUncorked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		defer near.Close()
		s := newSocket(near)
		began := time.Now()
		n, err := s.Write([]byte("PING\r\n"))
		if took := time.Since(began); n != 6 || err != nil || took != writeTimeout {
			t.Errorf("Write = %d, %v after %v, want 6, nil after %v", n, err, took, writeTimeout)
		}
		if err := s.cork(); !errors.Is(err, errStalled) {
			t.Errorf("cork of a stalled socket = %v, want %v", err, errStalled)
		}
		var got bytes.Buffer
		io.CopyN(&got, far, 6)
		synctest.Wait()
		if got.String() != "PING\r\n" || s.cork() != nil || s.uncork() != nil {
			t.Errorf("the other end read %q, want a PING and a socket that works", got.String())
		}
	})
}
