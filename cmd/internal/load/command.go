package load

import (
	"fmt"
	"math"
	"strconv"
)

// format formats commands. All lines have the same length.
type format struct {
	name     string // prefix of client ids, before the number
	width    int    // digits of that number
	template []byte // an IAMAT with LF
	length   int    // of a line
	place    int    // offset of the location in the template
}

const (
	iamat   = "IAMAT "
	whatsat = "WHATSAT "

	placeLength = len("+34.068930-118.445127")
	stampLength = len("1621464827.959498503")
)

// places are the locations that clients report.
var places = func() (all [64]string) {
	for i := range all {
		lat := 80 * math.Sin(float64(i))
		lon := 175 * math.Cos(float64(3*i))
		all[i] = fmt.Sprintf("%+010.6f%+011.6f", lat, lon)
	}
	return all
}()

func newFormat(name string, clients int) format {
	l := format{name: name, width: len(strconv.Itoa(clients - 1))}
	l.template = fmt.Appendf(nil, "%s%s.%0*d %s %s\n", iamat, name, l.width, 0, places[0], "0000000000.000000000")
	l.length = len(l.template)
	l.place = l.length - 1 - stampLength - 1 - placeLength
	return l
}

// command is a command to send.
type command struct {
	client uint32
	place  uint8 // index in places
	ask    bool  // it is a WHATSAT
	stamp  int64 // the client's clock, nanoseconds since 1970
}

// write writes the line of c to dst, which must have the length of a line. A WHATSAT is
// padded with spaces.
func (l *format) write(dst []byte, c command) {
	if c.ask {
		n := copy(dst, whatsat)
		n += copy(dst[n:], l.name)
		dst[n] = '.'
		n++
		putDigits(dst[n:n+l.width], uint64(c.client))
		n += l.width
		n += copy(dst[n:], " 0 0")
		for ; n < l.length-1; n++ {
			dst[n] = ' '
		}
		dst[n] = '\n'
		return
	}
	copy(dst, l.template)
	putDigits(dst[l.place-1-l.width:l.place-1], uint64(c.client))
	copy(dst[l.place:], places[c.place])
	at := l.length - 1 - stampLength
	putDigits(dst[at:at+10], uint64(c.stamp)/1e9)
	putDigits(dst[at+11:at+20], uint64(c.stamp)%1e9)
}

// fields is the part of an IAMAT's line that its reply repeats.
func (l *format) fields(line []byte) []byte { return line[len(iamat):] }

// appendFields appends the fields that the reply to c repeats, without LF.
func (l *format) appendFields(dst []byte, c command) []byte {
	at := len(dst)
	dst = append(dst, l.template...)
	line := dst[at:]
	c.ask = false
	l.write(line, c)
	return dst[:at+copy(line, l.fields(line[:len(line)-1]))]
}

// client is the id of a client.
func (l *format) client(number uint32) string {
	return fmt.Sprintf("%s.%0*d", l.name, l.width, number)
}

const pairs = "00010203040506070809" + "10111213141516171819" + "20212223242526272829" + "30313233343536373839" + "40414243444546474849" +
	"50515253545556575859" + "60616263646566676869" + "70717273747576777879" + "80818283848586878889" + "90919293949596979899"

// putDigits fills dst with v in decimal, with leading zeros.
func putDigits(dst []byte, v uint64) {
	i := len(dst)
	for ; i >= 2; i -= 2 {
		two := v % 100 * 2
		v /= 100
		dst[i-2], dst[i-1] = pairs[two], pairs[two+1]
	}
	if i == 1 {
		dst[0] = byte('0' + v%10)
	}
}
