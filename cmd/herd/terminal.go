package main

import (
	"io"
	"os"
	"strings"
	"unicode/utf8"

	"golang.org/x/term"
)

// isTerminal reports whether w, which may also be standard input, is a terminal.
func isTerminal(w any) (is bool) {
	control(w, func(fd int) { is = term.IsTerminal(fd) })
	return is
}

// terminalWidth is the number of columns of a terminal; 0 if w is none.
func terminalWidth(w io.Writer) int {
	width, _ := terminalSize(w)
	return width
}

// terminalSize is the number of columns and rows of a terminal; 0 if w is none.
func terminalSize(w io.Writer) (width, height int) {
	control(w, func(fd int) { width, height, _ = term.GetSize(fd) })
	return width, height
}

// control calls f with the descriptor of a file, whose mode it does not change: File.Fd
// would.
func control(file any, f func(fd int)) {
	if file, ok := file.(*os.File); ok {
		if raw, err := file.SyscallConn(); err == nil {
			raw.Control(func(fd uintptr) { f(int(fd)) })
		}
	}
}

// formatTable aligns the columns of rows. The last column is wrapped at a width, unless that
// is 0 or leaves it too little.
func formatTable(rows [][]string, width int) string {
	const (
		gap   = 2
		least = 30 // columns of the last one
	)
	var widths []int
	for _, row := range rows {
		for i, cell := range row[:len(row)-1] {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	var b strings.Builder
	indent := 0
	for _, w := range widths {
		indent += w + gap
	}
	for _, row := range rows {
		var line strings.Builder
		for i, w := range widths {
			line.WriteString(row[i] + strings.Repeat(" ", w+gap-utf8.RuneCountInString(row[i])))
		}
		last := row[len(row)-1]
		if width-indent >= least {
			last = strings.Join(wrap(last, width-indent), "\n"+strings.Repeat(" ", indent))
		}
		line.WriteString(last)
		b.WriteString(strings.TrimRight(line.String(), " ") + "\n")
	}
	return b.String()
}

// wrap breaks text into lines of a width, at spaces. A longer word is a line of its own.
func wrap(text string, width int) (lines []string) {
	line := ""
	for _, word := range strings.Fields(text) {
		switch {
		case line == "":
			line = word
		case utf8.RuneCountInString(line)+1+utf8.RuneCountInString(word) > width:
			lines = append(lines, line)
			line = word
		default:
			line += " " + word
		}
	}
	return append(lines, line)
}
