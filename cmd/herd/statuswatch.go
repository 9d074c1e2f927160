package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"
	"unicode/utf8"

	"herd/bus/plural"
	"herd/bus/printable"
	"herd/node/status"
)

// The interval of a watch.
const (
	leastInterval   = 100 * time.Millisecond
	defaultInterval = 2 * time.Second
)

// watch prints the status at an interval, until ctx ends. An error is printed like a status:
// NATS may come back.
func (s statusCommand) watch(ctx context.Context, c console, settings settings) error {
	show := showBlock(c.Out)
	switch {
	case s.JSON:
		show = func(text string) error { _, err := io.WriteString(c.Out, text); return err }
	case isTerminal(c.stdout):
		screen := newScreen(c.stdout)
		defer screen.close()
		show = screen.show
	}
	p := newPoller(settings)
	tick := time.NewTicker(s.Interval)
	defer tick.Stop()
	for {
		now := time.Now()
		h, err := p.poll(ctx, askTimeout)
		if ctx.Err() != nil {
			return nil
		}
		text, err := s.format(h, err, now)
		if err != nil {
			return err
		}
		if err := show(text); err != nil {
			return fmt.Errorf("status: %w", err)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// format formats a status, or the error in place of it, at a time.
func (s statusCommand) format(h status.Herd, failed error, at time.Time) (string, error) {
	if s.JSON {
		out := struct {
			Time  time.Time    `json:"time"`
			Error string       `json:"error,omitempty"`
			Herd  *status.Herd `json:"herd,omitempty"`
		}{Time: at}
		if failed != nil {
			out.Error = busHint(failed).Error()
		} else {
			out.Herd = &h
		}
		line, err := json.Marshal(out)
		return string(line) + "\n", err
	}
	text := h.Text()
	if failed != nil {
		text = busHint(failed).Error() + "\n"
	}
	return fmt.Sprintf("%s  every %v, Ctrl-C ends\n\n%s", at.Format(time.DateTime), s.Interval, text), nil
}

// showBlock returns a function that prints text, with an empty line between two.
func showBlock(w io.Writer) func(text string) error {
	first := true
	return func(text string) error {
		if !first {
			text = "\n" + text
		}
		first = false
		_, err := io.WriteString(w, text)
		return err
	}
}

// screen shows text at the same place of a terminal.
type screen struct {
	terminal io.Writer
	first    bool
}

const (
	hideCursor  = "\x1b[?25l"
	showCursor  = "\x1b[?25h"
	clearScreen = "\x1b[2J"
	home        = "\x1b[H"
	clearLine   = "\x1b[K" // from the cursor to its end
	clearBelow  = "\x1b[J"
)

func newScreen(terminal io.Writer) *screen { return &screen{terminal, true} }

// show replaces what the screen shows. It writes over the old text, so that nothing flickers.
// Lines for which the terminal is too small are left out.
func (s *screen) show(text string) error {
	width, height := terminalSize(s.terminal)
	var b strings.Builder
	if s.first {
		b.WriteString(hideCursor + clearScreen)
		s.first = false
	}
	b.WriteString(home)
	for _, line := range fitScreen(strings.Split(strings.TrimSuffix(text, "\n"), "\n"), width, height) {
		b.WriteString(printable.Line(line) + clearLine + "\n")
	}
	b.WriteString(clearBelow)
	_, err := io.WriteString(s.terminal, b.String())
	return err
}

func (s *screen) close() { io.WriteString(s.terminal, showCursor) }

// fitScreen returns the lines that fit a terminal, which wraps long ones. Its last row stays
// free, and one says how many lines are left out. A size of 0 is unknown.
func fitScreen(lines []string, width, height int) []string {
	if width <= 0 || height <= 2 {
		return lines
	}
	rows := func(line string) int { return max(1, (utf8.RuneCountInString(line)+width-1)/width) }
	total := 0
	for _, line := range lines {
		total += rows(line)
	}
	if total <= height-1 {
		return lines
	}
	used := 0
	for i, line := range lines {
		if used += rows(line); used > height-2 {
			return append(lines[:i:i], fmt.Sprintf("… %s: the terminal is too small", plural.Count(len(lines)-i, "more line")))
		}
	}
	return lines
}
