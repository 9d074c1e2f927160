package main

import (
	"strings"
	"testing"
)

// TestFitScreen: what is shown fits, with long lines that the terminal wraps.
func TestFitScreen(t *testing.T) {
	t.Parallel()
	text := []string{"1", "2", strings.Repeat("3", 25), "4", "5"} // 3 takes three rows of ten columns
	for _, tt := range []struct {
		columns, rows int
		want          []string
	}{
		{10, 8, text},
		{10, 7, []string{"1", "2", text[2], "… 2 more lines: the terminal is too small"}},
		{10, 6, []string{"1", "2", "… 3 more lines: the terminal is too small"}},
		{10, 3, []string{"1", "… 4 more lines: the terminal is too small"}},
		{100, 6, text},
		{0, 0, text},
	} {
		if got := fitScreen(text, tt.columns, tt.rows); strings.Join(got, "|") != strings.Join(tt.want, "|") {
			t.Errorf("fitScreen with %d columns and %d rows = %q, want %q", tt.columns, tt.rows, got, tt.want)
		}
	}
}

// TestFormatTable: columns are aligned, and the last one is wrapped where there is room for it.
func TestFormatTable(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("word ", 10) + strings.Repeat("x", 50)
	rows := [][]string{{"a", "é", long}, {"bcd", "", ""}}
	for width, want := range map[int]string{
		0:  "a    é  " + long + "\nbcd\n",
		37: "a    é  " + long + "\nbcd\n", // 29 columns are too few
		38: "a    é  word word word word word word\n        word word word word\n        " + strings.Repeat("x", 50) + "\nbcd\n",
	} {
		if got := formatTable(rows, width); got != want {
			t.Errorf("width %d:\n%s\nwant\n%s", width, got, want)
		}
	}
}
