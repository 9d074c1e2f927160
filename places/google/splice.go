package google

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// maxStatusLength limits the status word, which appears in logs and messages.
const maxStatusLength = 50

// layout holds the values in a response body that matter here, and the positions of its results.
type layout struct {
	status  string
	message string
	// ends[0] is the offset just after the opening bracket of the results list. ends[i] is the end of the i-th result.
	// It is nil if there is no such list.
	ends []int64
}

// scan validates the whole body and returns its layout. It fails if the body is not exactly one JSON object with a
// status.
func scan(body []byte) (l layout, err error) {
	d := json.NewDecoder(bytes.NewReader(body))
	if err := expectDelim(d, '{'); err != nil {
		return l, err
	}
	for d.More() {
		key, err := d.Token()
		if err != nil {
			return l, err
		}
		switch key {
		case "status":
			err = d.Decode(&l.status)
		case "error_message":
			err = d.Decode(&l.message)
		case "results":
			err = l.scanResults(d)
		default:
			err = d.Decode(&json.RawMessage{})
		}
		if err != nil {
			return l, fmt.Errorf("%v: %w", key, err)
		}
	}
	if err := expectDelim(d, '}'); err != nil {
		return l, err
	}
	if _, err := d.Token(); err != io.EOF {
		return l, errors.New("data after the object")
	}
	if l.status == "" || len(l.status) > maxStatusLength {
		return l, errors.New("status is missing or too long")
	}
	return l, nil
}

func (l *layout) scanResults(d *json.Decoder) error {
	if l.ends != nil {
		return errors.New("second results list")
	}
	if err := expectDelim(d, '['); err != nil {
		return err
	}
	l.ends = []int64{d.InputOffset()}
	for d.More() {
		var result json.RawMessage
		if err := d.Decode(&result); err != nil {
			return err
		}
		if result[0] != '{' {
			return errors.New("a result is not an object")
		}
		l.ends = append(l.ends, d.InputOffset())
	}
	return expectDelim(d, ']')
}

// cut returns body with the first bound results only. It keeps the bytes after the last result, so the closing bracket
// stays where Google put it.
func (l layout) cut(body []byte, bound int) []byte {
	if len(l.ends) <= bound+1 {
		return body
	}
	end, last := l.ends[bound], l.ends[len(l.ends)-1]
	out := make([]byte, 0, len(body))
	return append(append(out, body[:end]...), body[last:]...)
}

func expectDelim(d *json.Decoder, want json.Delim) error {
	t, err := d.Token()
	if err == nil && t != want {
		err = fmt.Errorf("got %v, want %v", t, want)
	}
	return err
}
