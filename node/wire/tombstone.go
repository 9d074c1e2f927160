package wire

import "errors"

// tombstoneLocation stands in the place of the location in a tombstone. No client can report it.
const tombstoneLocation = '-'

// maxTime is the first time that has too many digits.
var maxTime = Instant{Sec: 1_000_000_000_000_000_000}

// ErrNoTombstone is the error for a record that no tombstone can rank above: PROTOCOL.md, "Tombstones".
var ErrNoTombstone = errors.New("the record's time is the last that a record can have")

// IsTombstone reports whether the record says that its client is unknown.
func (h Header) IsTombstone() bool {
	rest := h.Line[h.location:]
	return len(rest) > 1 && rest[0] == tombstoneLocation && rest[1] == ' '
}

// AppendTombstone appends, without LF, the tombstone that server makes of a record, when its clock reads reading. Its effective time
// is one nanosecond later than the record's, so that it wins over the record.
func AppendTombstone(dst []byte, server string, of Record, reading Instant) ([]byte, Record, error) {
	const nanosecond = 1
	t := of.Effective.Add(Instant{Nsec: nanosecond})
	if t.Sec < 0 || t.Compare(maxTime) >= 0 {
		return dst, Record{}, ErrNoTombstone
	}
	receipt := of.Receipt.Add(Instant{Nsec: nanosecond})
	if receipt.Compare(reading) < 0 {
		receipt = reading
	}
	text := t.appendSigned(nil)[1:] // without its sign
	line, r := AppendRecord(dst, server, Command{Client: of.Client(), Location: []byte{tombstoneLocation}, TimeText: text, Time: t}, receipt)
	return line, r, nil
}

// parseTombstoneTime parses the time of a tombstone. It accepts only the form that AppendTombstone writes.
func parseTombstoneTime(b []byte) (t Instant, ok bool) {
	const decimals = 9
	whole := len(b) - decimals - 1
	if whole < 1 || b[whole] != '.' || whole > 1 && b[0] == '0' {
		return Instant{}, false
	}
	return parseTime(b)
}
