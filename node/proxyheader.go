package node

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/netip"

	"github.com/pires/go-proxyproto"
)

const (
	// shortestProxyHeader is less than any valid header has.
	shortestProxyHeader = 13
	longestProxyV1      = 107     // by the specification
	longestProxyV2      = 4 << 10 // a client's certificate may be in it
	proxyV2Prefix       = 16      // the part before what its length counts
)

var errNoProxyHeader = errors.New("the connection does not begin with a PROXY protocol header: a proxy must send one, and clients in its network must not connect directly")

// readProxyHeader reads a header of the PROXY protocol, version 1 or 2, and not a byte
// more, so that the connection can be used without a buffer between. source is the
// client's address; the zero AddrPort if the header names none, so that the connection's
// own address counts. An error is io.EOF if there was nothing to read.
//
// go-proxyproto parses the bytes: it follows the specification, and others maintain it. Its
// own reading needs a buffer, and gives up on a header that arrives in pieces.
func readProxyHeader(r io.Reader) (source netip.AddrPort, err error) {
	header := make([]byte, shortestProxyHeader, longestProxyV1)
	if _, err := io.ReadFull(r, header); err != nil {
		return source, err
	}
	switch {
	case bytes.HasPrefix(header, proxyproto.SIGV1):
		header, err = readProxyV1(r, header)
	case bytes.HasPrefix(header, proxyproto.SIGV2):
		header, err = readProxyV2(r, header)
	default:
		err = errNoProxyHeader
	}
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		return source, err
	}
	h, err := proxyproto.Read(bufio.NewReaderSize(bytes.NewReader(header), len(header)))
	if err != nil {
		return source, fmt.Errorf("PROXY protocol header: %w", err)
	}
	if client, _, ok := h.TCPAddrs(); ok && h.Command.IsProxy() {
		source = client.AddrPort()
	}
	return source, nil
}

// readProxyV1 reads the rest of a header that is a line.
func readProxyV1(r io.Reader, header []byte) ([]byte, error) {
	for header[len(header)-1] != '\n' {
		if len(header) == longestProxyV1 {
			return nil, fmt.Errorf("PROXY protocol header: its line is longer than %d bytes", longestProxyV1)
		}
		header = header[:len(header)+1]
		if _, err := io.ReadFull(r, header[len(header)-1:]); err != nil {
			return nil, err
		}
	}
	return header, nil
}

// readProxyV2 reads the rest of a header that has its length in its prefix.
func readProxyV2(r io.Reader, header []byte) ([]byte, error) {
	header = header[:proxyV2Prefix]
	if _, err := io.ReadFull(r, header[shortestProxyHeader:]); err != nil {
		return nil, err
	}
	length := int(binary.BigEndian.Uint16(header[proxyV2Prefix-2:]))
	if length > longestProxyV2 {
		return nil, fmt.Errorf("PROXY protocol header: it has %d bytes, want at most %d", length, longestProxyV2)
	}
	header = append(header, make([]byte, length)...)
	_, err := io.ReadFull(r, header[proxyV2Prefix:])
	return header, err
}
