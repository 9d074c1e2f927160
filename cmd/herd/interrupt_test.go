package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"testing"
	"testing/synctest"
	"time"
)

// TestUntilInterrupted: a command that ends soon after Ctrl-C returns its own error, and one that is blocked is not waited for.
func TestUntilInterrupted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		failed := errors.New("failed")
		for took, want := range map[time.Duration]error{0: failed, interruptGrace / 2: failed, 2 * interruptGrace: errAbandoned} {
			ctx, cancel := context.WithCancel(t.Context())
			began := time.Now()
			time.AfterFunc(time.Minute, cancel)
			err := untilInterrupted(ctx, func() error {
				<-ctx.Done()
				time.Sleep(took)
				return failed
			})
			if waited := time.Since(began) - time.Minute; err != want || waited != min(took, interruptGrace) {
				t.Errorf("a command that takes %v after Ctrl-C: %v after %v, want %v", took, err, waited, want)
			}
		}
		if err := untilInterrupted(t.Context(), func() error { return failed }); err != failed {
			t.Errorf("without Ctrl-C: %v", err)
		}
		synctest.Wait()
		time.Sleep(time.Minute) // the blocked command ends
	})
}

// TestInterruptWhileBlocked: one Ctrl-C ends commands whose output nobody reads, or whose input never ends.
func TestInterruptWhileBlocked(t *testing.T) {
	t.Parallel()
	h := startUp(t, "Solo")
	env := []string{"HERD_TOPOLOGY=Solo", "HERD_NATS_URL=" + h.nats, "HERD_NATS_SEED=" + opsSeedOf(t, h)}
	c := dial(t, h.addresses[0])
	for i := range 3000 { // more than a pipe takes
		c.ask(fmt.Sprintf("IAMAT client%d +1.5-2 100", i))
	}
	for _, tt := range []struct {
		args []string
		want int
	}{
		{[]string{"follow"}, exitOK},
		{[]string{"dump"}, exitFailure},
		{[]string{"restore", "-"}, exitFailure},
	} {
		t.Run(tt.args[0], func(t *testing.T) {
			t.Parallel()
			unread, output := pipe(t)
			input, unwritten := pipe(t)
			cmd := command(t, asProgram, env, tt.args...)
			cmd.Stdin, cmd.Stdout = input, output
			p := startCommand(t, cmd)
			if tt.args[0] == "restore" { // it reads its input
				if _, err := unwritten.Write(bytes.Repeat([]byte("\n"), 1<<20)); err != nil {
					t.Fatal(err)
				}
			} else if _, err := unread.Read(make([]byte, 1)); err != nil { // it writes its output
				t.Fatal(err)
			}
			p.cmd.Process.Signal(os.Interrupt)
			if got := p.status(); got != tt.want {
				t.Errorf("exit status %d, want %d", got, tt.want)
			}
		})
	}
}
