// Package plural writes numbers of things in English, for events, logs and output: "1 record",
// "2 records". Nouns are those whose plural ends in s alone.
package plural

import "fmt"

// Integer is a number of things.
type Integer interface {
	~int | ~int64 | ~uint32 | ~uint64
}

// Count is a number and its noun: "1 record", "2 records".
func Count[N Integer](n N, noun string) string { return fmt.Sprint(n, " ", Noun(n, noun)) }

// Of is a part of a total and its noun: "1 of 1 record", "1 of 3 records".
func Of[N Integer](n, total N, noun string) string {
	return fmt.Sprint(n, " of ", total, " ", Noun(total, noun))
}

// Noun is the form of a noun for a number.
func Noun[N Integer](n N, noun string) string { return Form(n, noun, noun+"s") }

// Form is one for 1, and otherwise many: Form(n, "is", "are").
func Form[N Integer](n N, one, many string) string {
	if n == 1 {
		return one
	}
	return many
}
