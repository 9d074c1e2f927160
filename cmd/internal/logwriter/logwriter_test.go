package logwriter

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

func note(lines uint64) []byte { return fmt.Appendf(nil, "lost %d\n", lines) }

// TestOrder: every line of several goroutines arrives, whole and in its goroutine's order.
func TestOrder(t *testing.T) {
	const writers, lines = 8, 5000
	var out bytes.Buffer
	w := New(&out, note)
	var all sync.WaitGroup
	for i := range writers {
		all.Go(func() {
			for n := range lines {
				fmt.Fprintf(w, "%d %d\n", i, n)
				if n%100 == 0 {
					w.Flush(time.Minute)
				}
			}
		})
	}
	all.Wait()
	w.Flush(time.Minute)
	var next [writers]int
	for line := range strings.Lines(out.String()) {
		var i, n int
		if _, err := fmt.Sscanf(line, "%d %d\n", &i, &n); err != nil || n != next[i] {
			t.Fatalf("line %q after line %d of that writer", line, next[i]-1)
		}
		next[i]++
	}
	for i, n := range next {
		if n != lines {
			t.Errorf("%d lines of writer %d, want %d", n, i, lines)
		}
	}
	if w.Dropped() != 0 {
		t.Errorf("%d lines dropped", w.Dropped())
	}
}

// TestHold: held lines wait, and Hold waits for a line that is being written, but not for
// ever.
func TestHold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, pipe := io.Pipe()
		w := New(pipe, note)
		io.WriteString(w, "before\n")
		synctest.Wait() // it is being written
		began := time.Now()
		first := w.Hold(time.Second) // nobody reads
		if waited := time.Since(began); waited != time.Second {
			t.Errorf("Hold waited %v for a line that nobody reads", waited)
		}
		io.WriteString(w, "one\n") // queued behind the one that is being written
		var got bytes.Buffer
		go io.Copy(&got, r)
		second := w.Hold(time.Minute)
		synctest.Wait()
		if got.String() != "before\n" {
			t.Errorf("%q is written after Hold", got.String())
		}
		first()
		first() // the same hold
		io.WriteString(w, "two\n")
		w.Flush(time.Second)
		synctest.Wait()
		if got.String() != "before\n" {
			t.Errorf("%q is written while a hold is left", got.String())
		}
		second()
		w.Flush(time.Minute)
		io.WriteString(w, "three\n")
		w.Flush(time.Minute)
		synctest.Wait()
		if want := "before\none\ntwo\nthree\n"; got.String() != want {
			t.Errorf("%q is written, want %q", got.String(), want)
		}
		pipe.Close()
	})
}

// TestPipeNotRead: while nobody reads a pipe, Write goes on and Flush ends. When somebody
// reads again, a note stands where lines are missing, and its number is right.
func TestPipeNotRead(t *testing.T) {
	r, pipe, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer pipe.Close()
	w := New(pipe, note)
	const lines = 40_000
	padding := strings.Repeat("x", 200)
	line := func(n uint64) string { return fmt.Sprintf("%d %s\n", n, padding[:n%200]) } // a short one may fit where a long one does not
	for n := range uint64(lines) {
		io.WriteString(w, line(n))
	}
	if began := time.Now(); true {
		if w.Flush(10 * time.Millisecond); time.Since(began) > 10*time.Second {
			t.Error("Flush waits for a pipe that nobody reads")
		}
	}
	dropped := w.Dropped()
	if dropped == 0 || dropped > lines-queueSize/200 {
		t.Fatalf("%d of %d lines dropped: want most, but not those that there is memory for", dropped, lines)
	}
	var got bytes.Buffer
	done := make(chan struct{})
	go func() {
		io.Copy(&got, r)
		close(done)
	}()
	w.Flush(time.Minute)
	io.WriteString(w, line(lines))
	w.Flush(time.Minute)
	pipe.Close()
	<-done
	next := uint64(0)
	for got := range strings.Lines(got.String()) {
		var n uint64
		if _, err := fmt.Sscanf(got, "lost %d\n", &n); err == nil {
			next += n
			continue
		}
		if got != line(next) {
			t.Fatalf("line %.20q, want line %d", got, next)
		}
		next++
	}
	if next != lines+1 || w.Dropped() != dropped {
		t.Errorf("%d lines written or reported, want %d", next, lines+1)
	}
}

// destination accepts a number of bytes and then fails.
type destination struct {
	bytes.Buffer
	room int
	err  error
	more int // room after a failure
}

func (d *destination) Write(text []byte) (int, error) {
	n := min(d.room, len(text))
	d.Buffer.Write(text[:n])
	d.room -= n
	if n < len(text) {
		d.room += d.more
		return n, d.err
	}
	return n, nil
}

// TestFailure: what a full disk does not take is counted. When there is room again, a line
// that was cut off ends, and a note follows.
func TestFailure(t *testing.T) {
	d := &destination{room: 10, err: syscall.ENOSPC}
	w := New(d, note)
	say := func(text string) {
		io.WriteString(w, text)
		w.Flush(time.Minute)
	}
	say("one\n")
	say("twotwotwo\nthree\n") // cut within the first
	say("four\n")
	if w.Dropped() != 3 {
		t.Errorf("%d lines dropped, want 3", w.Dropped())
	}
	d.room = 3 // not even for the note
	say("five\n")
	d.room = 100
	say("six\n")
	say("seven\n")
	if got, want := d.String(), "one\ntwotwo\nlo\nlost 4\nsix\nseven\n"; got != want {
		t.Errorf("wrote %q, want %q", got, want)
	}
	if w.Dropped() != 4 {
		t.Errorf("%d lines dropped, want 4", w.Dropped())
	}
}

// TestNonBlocking: a destination in non-blocking mode loses nothing.
func TestNonBlocking(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &destination{room: 6, err: syscall.EAGAIN, more: 1}
		w := New(d, note)
		io.WriteString(w, "one\ntwo\n")
		w.Flush(time.Minute)
		if got, want := d.String(), "one\ntwo\n"; got != want || w.Dropped() != 0 {
			t.Errorf("wrote %q, %d dropped, want %q", got, w.Dropped(), want)
		}
	})
}

// TestTooLong: lines that no queue takes are dropped, and the next are not.
func TestTooLong(t *testing.T) {
	var out bytes.Buffer
	w := New(&out, note)
	io.WriteString(w, strings.Repeat("x", queueSize)+"\n")
	w.Flush(time.Minute)
	io.WriteString(w, "next\n")
	w.Flush(time.Minute)
	if got, want := out.String(), "lost 1\nnext\n"; got != want {
		t.Errorf("wrote %.40q, want %q", got, want)
	}
}
