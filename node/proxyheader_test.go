package node

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/pires/go-proxyproto"
)

// proxyHeader is the header of a proxy for a client. extra is data that follows the addresses (v2).
func proxyHeader(t testing.TB, version byte, client string, extra ...proxyproto.TLV) string {
	t.Helper()
	server := netip.MustParseAddrPort("198.51.100.1:12000")
	source := netip.MustParseAddrPort(client)
	if source.Addr().Is6() {
		server = netip.MustParseAddrPort("[2001:db8::1]:12000")
	}
	h := proxyproto.HeaderProxyFromAddrs(version, net.TCPAddrFromAddrPort(source), net.TCPAddrFromAddrPort(server))
	if err := h.SetTLVs(extra); err != nil {
		t.Fatal(err)
	}
	text, err := h.Format()
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

const (
	localV2       = "\r\n\r\n\x00\r\nQUIT\n\x20\x00\x00\x00"
	signatureV2   = "\r\n\r\n\x00\r\nQUIT\n"
	unknownV1     = "PROXY UNKNOWN\r\n"
	unknownLongV1 = "PROXY UNKNOWN ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n"
)

// TestReadProxyHeader: the address of each kind of header, and not a byte behind it is
// read, however the bytes arrive. Everything else is an error.
func TestReadProxyHeader(t *testing.T) {
	const rest = "IAMAT kiwi +1+1 1\n"
	long := proxyproto.TLV{Type: proxyproto.PP2_TYPE_MIN_CUSTOM, Value: bytes.Repeat([]byte("x"), longestProxyV2-12-3)}
	for _, tt := range []struct{ name, header, want string }{
		{"v1", "PROXY TCP4 203.0.113.7 198.51.100.1 56324 443\r\n", "203.0.113.7:56324"},
		{"v1 IPv6", "PROXY TCP6 2001:db8::7 2001:db8::1 56324 443\r\n", "[2001:db8::7]:56324"},
		{"v1 unknown", unknownV1, "invalid AddrPort"},
		{"v1 unknown, longest", unknownLongV1, "invalid AddrPort"},
		{"v2", proxyHeader(t, 2, "203.0.113.7:56324"), "203.0.113.7:56324"},
		{"v2 IPv6", proxyHeader(t, 2, "[2001:db8::7]:56324"), "[2001:db8::7]:56324"},
		{"v2 with more", proxyHeader(t, 2, "203.0.113.7:1", proxyproto.TLV{Type: proxyproto.PP2_TYPE_NOOP, Value: []byte("x\n")}), "203.0.113.7:1"},
		{"v2, longest", proxyHeader(t, 2, "203.0.113.7:1", long), "203.0.113.7:1"},
		{"v2 local", localV2, "invalid AddrPort"},
		{"v2 local with an address", signatureV2 + "\x20\x11\x00\x0c" + "\x7f\x00\x00\x01\x7f\x00\x00\x01\x00\x01\x00\x02", "invalid AddrPort"},
		{"v2 UNIX", signatureV2 + "\x21\x31\x00\xd8" + strings.Repeat("x", 216), "invalid AddrPort"},
	} {
		if len(tt.header) > longestProxyV1 && strings.HasPrefix(tt.header, "PROXY") {
			t.Errorf("%s: the header has %d bytes", tt.name, len(tt.header))
		}
		for how, split := range map[string]func(io.Reader) io.Reader{"at once": func(r io.Reader) io.Reader { return r }, "byte by byte": iotest.OneByteReader} {
			r := strings.NewReader(tt.header + rest)
			got, err := readProxyHeader(split(r))
			left, _ := io.ReadAll(r)
			if err != nil || got.String() != tt.want || string(left) != rest {
				t.Errorf("%s, %s: source %s, %v, and %q is left; want %s and %q", tt.name, how, got, err, left, tt.want, rest)
			}
		}
	}

	tooLong := []byte(proxyHeader(t, 2, "203.0.113.7:1"))
	binary.BigEndian.PutUint16(tooLong[proxyV2Prefix-2:], longestProxyV2+1)
	for name, input := range map[string]string{
		"no header":         rest,
		"TLS":               "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + strings.Repeat("x", 100),
		"only a part":       "PROXY TCP4 203.0.113.7",
		"v1 too long":       "PROXY TCP4 " + strings.Repeat("x", 200) + "\r\n",
		"v1 no address":     "PROXY TCP4 kiwi 198.51.100.1 56324 443\r\n",
		"v1 port":           "PROXY TCP4 203.0.113.7 198.51.100.1 65536 443\r\n",
		"v1 without CR":     "PROXY TCP4 203.0.113.7 198.51.100.1 1 443\n",
		"v1 other protocol": "PROXY UDP4 203.0.113.7 198.51.100.1 1 443\r\n",
		"v2 too long":       string(tooLong),
		"v2 too short":      signatureV2 + "\x21\x11\x00\x04abcd",
		"v2 cut":            proxyHeader(t, 2, "203.0.113.7:1")[:20],
		"v2 version 3":      signatureV2 + "\x31\x11\x00\x0cabcdabcdabcd",
	} {
		if got, err := readProxyHeader(strings.NewReader(input)); err == nil || errors.Is(err, io.EOF) {
			t.Errorf("%s: source %s, %v, want an error", name, got, err)
		}
	}
	if _, err := readProxyHeader(strings.NewReader("")); err != io.EOF {
		t.Errorf("nothing: %v, want EOF", err)
	}
}

// FuzzReadProxyHeader: whatever arrives, no byte behind the header is read, and the source
// is that which the library finds in the same bytes.
func FuzzReadProxyHeader(f *testing.F) {
	for _, version := range []byte{1, 2} {
		f.Add([]byte(proxyHeader(f, version, "203.0.113.7:56324") + "IAMAT kiwi +1+1 1\n"))
		f.Add([]byte(proxyHeader(f, version, "[2001:db8::7]:56324") + "\x16\x03\x01"))
	}
	f.Add([]byte(proxyHeader(f, 2, "203.0.113.7:1", proxyproto.TLV{Type: proxyproto.PP2_TYPE_AUTHORITY, Value: []byte("herd.example")})))
	for _, seed := range []string{localV2, unknownV1, unknownLongV1, "PROXY TCP4 1.2.3.4 1.2.3.4 1 1\r", signatureV2 + "\x21\x11\xff\xff" + strings.Repeat("x", 1<<16), "IAMAT kiwi +1+1 1\n", ""} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, input []byte) {
		r := bytes.NewReader(input)
		got, err := readProxyHeader(r)
		read := len(input) - r.Len()
		if most := proxyV2Prefix + longestProxyV2; read > most {
			t.Fatalf("%d bytes were read, want at most %d", read, most)
		}
		if err != nil {
			if got.IsValid() {
				t.Fatalf("an error, %v, and a source, %s", err, got)
			}
			return
		}
		buffered := bufio.NewReaderSize(bytes.NewReader(input), len(input)+1)
		want, err := proxyproto.Read(buffered)
		if err != nil {
			t.Fatalf("the library says %v", err)
		}
		if unread := buffered.Buffered(); read != len(input)-unread {
			t.Fatalf("%d bytes were read, want %d", read, len(input)-unread)
		}
		source, _, ok := want.TCPAddrs()
		if ok = ok && !want.Command.IsLocal(); ok != got.IsValid() || ok && source.AddrPort() != got {
			t.Fatalf("source %s, want %v", got, source)
		}
	})
}
