package google

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// longestStatus is the longest text that is taken for a status word, which goes into logs and messages.
const longestStatus = 50

// answer is what must be known of the bytes of an answer.
type answer struct {
	status  string
	message string
	// ends[0] is where the list of results begins, behind its bracket, and ends[i] where the i-th result ends; nil where
	// there is no such list.
	ends []int64
}

// read finds its way through body. It checks all of it, and fails for what is no object with a status, or holds more than
// the object.
func read(body []byte) (a answer, err error) {
	d := json.NewDecoder(bytes.NewReader(body))
	if err := delim(d, '{'); err != nil {
		return a, err
	}
	for d.More() {
		key, err := d.Token()
		if err != nil {
			return a, err
		}
		switch key {
		case "status":
			err = d.Decode(&a.status)
		case "error_message":
			err = d.Decode(&a.message)
		case "results":
			err = a.results(d)
		default:
			err = d.Decode(&json.RawMessage{})
		}
		if err != nil {
			return a, fmt.Errorf("%v: %w", key, err)
		}
	}
	if err := delim(d, '}'); err != nil {
		return a, err
	}
	if _, err := d.Token(); err != io.EOF {
		return a, errors.New("more after the object")
	}
	if a.status == "" || len(a.status) > longestStatus {
		return a, errors.New("no status")
	}
	return a, nil
}

func (a *answer) results(d *json.Decoder) error {
	if a.ends != nil {
		return errors.New("a second list")
	}
	if err := delim(d, '['); err != nil {
		return err
	}
	a.ends = []int64{d.InputOffset()}
	for d.More() {
		var result json.RawMessage
		if err := d.Decode(&result); err != nil {
			return err
		}
		if result[0] != '{' {
			return errors.New("a result that is no object")
		}
		a.ends = append(a.ends, d.InputOffset())
	}
	return delim(d, ']')
}

// cut returns body with the first bound of its results. What is behind the last of them stays, so that the bracket stands
// where Google put it.
func (a answer) cut(body []byte, bound int) []byte {
	if len(a.ends) <= bound+1 {
		return body
	}
	end, last := a.ends[bound], a.ends[len(a.ends)-1]
	out := make([]byte, 0, len(body))
	return append(append(out, body[:end]...), body[last:]...)
}

func delim(d *json.Decoder, want json.Delim) error {
	t, err := d.Token()
	if err == nil && t != want {
		err = fmt.Errorf("%v in place of %v", t, want)
	}
	return err
}
