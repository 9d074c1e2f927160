package main

import (
	"context"
	"errors"
	"time"
)

// interruptGrace is how long a command may take to end after Ctrl-C.
const interruptGrace = time.Second

// errAbandoned is the error of a command that did not end within interruptGrace.
var errAbandoned = errors.New("interrupted while it waited for its input or output")

// untilInterrupted runs a command. Soon after ctx has ended it returns, with errAbandoned, even if the command goes on: it may be
// blocked on an output that nobody reads, or on its input. Then the caller must not use what the command uses.
func untilInterrupted(ctx context.Context, command func() error) error {
	done := make(chan error, 1)
	go func() { done <- command() }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
	}
	select {
	case err := <-done:
		return err
	case <-time.After(interruptGrace):
		return errAbandoned
	}
}
