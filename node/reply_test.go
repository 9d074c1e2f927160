package node

import (
	"bufio"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"herd/bus/bustest"
)

// testTLS is a server's configuration of TLS, and a client's.
func testTLS(t *testing.T) (server, client *tls.Config) {
	t.Helper()
	certFile, keyFile, err := bustest.WriteCertificate(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	certificate, err := tls.LoadX509KeyPair(certFile, keyFile)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(certificate.Leaf)
	return &tls.Config{Certificates: []tls.Certificate{certificate}}, &tls.Config{RootCAs: roots, ServerName: "127.0.0.1"}
}

// TestSlowReader: a client that takes its replies slowly is not disconnected, although
// the kernel's buffers make room for more only now and then. One that takes nothing is.
func TestSlowReader(t *testing.T) {
	t.Parallel()
	if _, known := unacknowledged(mustPair(t)); !known {
		t.Skip("the kernel does not tell what a client has taken")
	}
	// At this rate our kernel learns about every 1.6 s that the client has taken something,
	// and makes room for more about every 4 s.
	const limit, perSecond = 3 * time.Second, 20 << 10
	serverTLS, clientTLS := testTLS(t)
	for name, secure := range map[string]bool{"plain": false, "TLS": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ours, theirs := tcpPair(t)
			defer theirs.Close()
			if err := ours.SetReadBuffer(1 << 10); err != nil {
				t.Fatal(err)
			}
			if err := theirs.(*net.TCPConn).SetWriteBuffer(512 << 10); err != nil { // or it would grow all the time
				t.Fatal(err)
			}
			limits := generous
			limits.Write = limit
			s := &session{node: New(Config{Name: "Solo", Limits: limits, Log: discard}), conn: theirs}
			var client net.Conn = ours
			if secure {
				s.conn = tls.Server(patientConn{theirs, limit}, serverTLS)
				client = tls.Client(ours, clientTLS)
			}
			failed := make(chan error, 1)
			go func() { failed <- s.write(&replyBatch{text: make([]byte, 32<<20)}) }() // more than the kernel keeps
			began, got := time.Now(), 0
			for time.Since(began) < 3*limit {
				due := int(time.Since(began).Seconds()*perSecond) - got // the rate does not depend on the machine's load
				got += due
				if _, err := io.ReadFull(client, make([]byte, due)); err != nil {
					t.Fatalf("after %v: %v", time.Since(began), err)
				}
				time.Sleep(50 * time.Millisecond)
			}
			select {
			case err := <-failed:
				t.Fatalf("a client that read all the time was given up: %v", err)
			default:
			}
			stopped := time.Now()
			err := <-failed
			if took := time.Since(stopped); !errors.Is(err, os.ErrDeadlineExceeded) || took < limit/4 || took > 10*limit {
				t.Errorf("a client that reads nothing: %v after %v, want a timeout after about %v", err, took, limit)
			}
		})
	}
}

// mustPair is the server's end of a connection over TCP.
func mustPair(t *testing.T) net.Conn {
	_, theirs := tcpPair(t)
	t.Cleanup(func() { theirs.Close() })
	return theirs
}

// TestWriteAllWithoutKernel: where the kernel does not tell what the client has taken, it
// has taken something if a part was written.
func TestWriteAllWithoutKernel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ours, theirs := net.Pipe()
		const limit = time.Minute
		var got strings.Builder
		go func() {
			for range 5 {
				time.Sleep(limit * 9 / 10)
				b := make([]byte, 1)
				ours.Read(b)
				got.Write(b)
			}
		}()
		began := time.Now()
		n, err := writeAll(theirs, []byte("abcdefg"), limit)
		took := time.Since(began)
		synctest.Wait()
		if n != 5 || got.String() != "abcde" || !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("writeAll = %d, %v, the client got %q; want 5, a timeout and abcde", n, err, got.String())
		}
		if last := 5 * limit * 9 / 10; took < last+limit || took > last+limit*12/10 {
			t.Errorf("writeAll took %v, want %v or up to a tenth of the limit more", took, last+limit)
		}
	})
}

// tls13 writes records of TLS 1.3 as a client does: crypto/tls sends no KeyUpdate itself.
type tls13 struct {
	conn   net.Conn
	secret []byte // of the client's traffic
	seq    uint64 // of the next record
}

// expand is HKDF-Expand-Label of RFC 8446 with an empty context.
func (c *tls13) expand(label string, size int) []byte {
	label = "tls13 " + label
	info := string(binary.BigEndian.AppendUint16(nil, uint16(size))) + string(rune(len(label))) + label + "\x00"
	out, err := hkdf.Expand(sha256.New, c.secret, info, size)
	if err != nil {
		panic(err)
	}
	return out
}

// write writes one record, for TLS_AES_128_GCM_SHA256.
func (c *tls13) write(t *testing.T, kind byte, content string) {
	t.Helper()
	block, err := aes.NewCipher(c.expand("key", 16))
	if err != nil {
		t.Fatal(err)
	}
	gcm, err := cipher.NewGCM(block)
	if err != nil {
		t.Fatal(err)
	}
	nonce := c.expand("iv", 12)
	for i, b := range binary.BigEndian.AppendUint64(nil, c.seq) {
		nonce[4+i] ^= b
	}
	c.seq++
	plain := append([]byte(content), kind)
	header := []byte{23, 3, 3, 0, 0}
	binary.BigEndian.PutUint16(header[3:], uint16(len(plain)+gcm.Overhead()))
	if _, err := c.conn.Write(gcm.Seal(header, nonce, plain, header)); err != nil {
		t.Fatal(err)
	}
}

// TestKeyUpdate: a client may ask for new TLS keys after a pause that is longer than the
// time limit of a reply. crypto/tls answers while it reads.
func TestKeyUpdate(t *testing.T) {
	serverTLS, clientTLS := testTLS(t)
	synctest.Test(t, func(t *testing.T) {
		h := newTestHerd(t, "Solo")
		pipes := h.start("Solo", 1, func(cfg *Config) {
			cfg.TLS, cfg.Limits.Write = serverTLS, 10*time.Second
		}).ln
		settle()
		raw := pipes.dial(nil)
		defer raw.Close()
		var keys strings.Builder
		clientTLS := clientTLS.Clone()
		clientTLS.KeyLogWriter = &keys
		conn := tls.Client(raw, clientTLS)
		c := &client{t, conn, bufio.NewReader(conn)}
		if got := c.ask("a"); got != "? a\n" {
			t.Fatalf("reply %q", got)
		}
		if suite := conn.ConnectionState().CipherSuite; suite != tls.TLS_AES_128_GCM_SHA256 {
			t.Fatalf("the cipher suite is %s, which this test does not know", tls.CipherSuiteName(suite))
		}
		_, secret, _ := strings.Cut(keys.String(), "CLIENT_TRAFFIC_SECRET_0 ")
		secret, _, _ = strings.Cut(secret, "\n")
		_, secret, _ = strings.Cut(secret, " ")
		decoded, err := hex.DecodeString(secret)
		if err != nil || len(decoded) != sha256.Size {
			t.Fatalf("no secret in the key log: %v", err)
		}
		ours := &tls13{conn: raw, secret: decoded, seq: 1} // c.ask has written one record

		time.Sleep(time.Minute)
		go func() {
			ours.write(t, 22, "\x18\x00\x00\x01\x01") // KeyUpdate, update_requested
			ours.secret, ours.seq = ours.expand("traffic upd", sha256.Size), 0
			ours.write(t, 23, "b\n")
		}()
		if got := c.line(); got != "? b\n" {
			t.Errorf("the reply after the KeyUpdate is %q", got)
		}
	})
}
