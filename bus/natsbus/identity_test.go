package natsbus

import (
	"context"
	"crypto/tls"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"

	"herd/bus"
	"herd/bus/bustest"
)

// TestReload: a new key, and new TLS files, are used from Reload on, and without it from the
// next connection on. A file that is broken changes nothing, and an error names it, without
// its content. The name stays the server's.
func TestReload(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	certFile, keyFile, err := bustest.WriteCertificate(dir)
	if err != nil {
		t.Fatal(err)
	}
	pair, err := tls.LoadX509KeyPair(certFile, keyFile)
	if err != nil {
		t.Fatal(err)
	}
	write := func(name, text string) string {
		t.Helper()
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	first, second, third := newUser(t), newUser(t), newUser(t)
	seed := func(i int) string {
		s, err := []interface{ Seed() ([]byte, error) }{first, second, third}[i].Seed()
		if err != nil {
			t.Fatal(err)
		}
		return string(s)
	}
	other := newUser(t)
	s := startServer(t, &server.Options{
		TLS: true, TLSConfig: &tls.Config{Certificates: []tls.Certificate{pair}},
		Nkeys: []*server.NkeyUser{{Nkey: publicKey(t, first)}, {Nkey: publicKey(t, second)}, {Nkey: publicKey(t, third)}, {Nkey: publicKey(t, other)}},
	})
	ca, err := os.ReadFile(certFile)
	if err != nil {
		t.Fatal(err)
	}
	cfg := Config{
		URLs: []string{s.ClientURL()}, Prefix: "herd", Server: "A", Neighbours: []string{"B"}, Epoch: 5, Log: testLog(t),
		Seed: write("seed", seed(0)), CA: write("ca", string(ca)),
	}
	b := New(cfg)
	if changed, err := b.Reload(); changed || err != nil {
		t.Errorf("Reload before Run = %v, %v", changed, err)
	}
	h := newReceiver()
	start(t, b, h)
	expect(t, "connected", h.connected, true)
	uses := func(user interface{ PublicKey() (string, error) }) {
		t.Helper()
		public, err := user.PublicKey()
		if err != nil {
			t.Fatal(err)
		}
		eventually(t, "a connection with the key", func() bool {
			conns, err := s.Connz(&server.ConnzOptions{Username: true})
			if err != nil {
				t.Fatal(err)
			}
			for _, c := range conns.Conns {
				if c.Name == "herd/A" && strings.HasSuffix(c.AuthorizedUser, public) {
					return true
				}
			}
			return false
		})
	}
	uses(first)
	if changed, err := b.Reload(); changed || err != nil {
		t.Errorf("Reload of the same files = %v, %v", changed, err)
	}

	// Another process with the name tries to get it at every moment.
	tries, stop := context.WithCancel(t.Context())
	var taken atomic.Bool
	trying := make(chan struct{})
	go func() {
		defer close(trying)
		nc, err := nats.Connect(s.ClientURL(), nats.RootCAs(certFile), nats.Nkey(publicKey(t, other), other.Sign))
		if err != nil {
			t.Error(err)
			return
		}
		defer nc.Close()
		replies, err := nc.SubscribeSync("herd.name.A")
		if err != nil {
			t.Error(err)
			return
		}
		for tries.Err() == nil {
			nc.Publish("herd.name.A", []byte("claim 1")) // earlier than ours: we hold it all the same
			if m, err := replies.NextMsg(time.Second); err == nil && strings.HasPrefix(string(m.Data), "claim 5") {
				taken.Store(true) // we claim it again
			}
		}
	}()
	write("seed", seed(1))
	if changed, err := b.Reload(); !changed || err != nil {
		t.Errorf("Reload of another key = %v, %v", changed, err)
	}
	expect(t, "disconnected", h.connected, false)
	expect(t, "connected", h.connected, true)
	uses(second)
	stop()
	<-trying
	if taken.Load() {
		t.Error("the server has lost its name, and claimed it again")
	}

	for name, text := range map[string]string{"seed": strings.Replace(seed(2), "SU", "XX", 1), "ca": "junk of mine"} {
		was, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		write(name, text)
		changed, err := b.Reload()
		if changed || err == nil || !strings.Contains(err.Error(), filepath.Join(dir, name)) || strings.Contains(err.Error(), text) {
			t.Errorf("Reload of a broken %s = %v, %v", name, changed, err)
		}
		b.publisher.socket.Load().Close() // and a reconnect meanwhile uses the former one
		expect(t, "disconnected", h.connected, false)
		expect(t, "connected", h.connected, true)
		uses(second)
		write(name, string(was))
	}
	write("seed", seed(2))
	b.publisher.socket.Load().Close()
	expect(t, "disconnected", h.connected, false)
	expect(t, "connected", h.connected, true)
	uses(third)
	if changed, err := b.Reload(); changed || err != nil {
		t.Errorf("Reload of what is in use = %v, %v", changed, err)
	}
}

// TestReloadWhileRefused: a server whose key the broker does not accept connects as soon
// as Reload has found another one.
func TestReloadWhileRefused(t *testing.T) {
	t.Parallel()
	right, wrong := newUser(t), newUser(t)
	s := startServer(t, &server.Options{Nkeys: []*server.NkeyUser{{Nkey: publicKey(t, right)}}})
	file := filepath.Join(t.TempDir(), "seed")
	write := func(user interface{ Seed() ([]byte, error) }) {
		t.Helper()
		seed, err := user.Seed()
		if err == nil {
			err = os.WriteFile(file, seed, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	write(wrong)
	b := New(Config{URLs: []string{s.ClientURL()}, Prefix: "herd", Server: "A", Epoch: 1, Seed: file, Log: testLog(t)})
	h := newReceiver()
	start(t, b, h)
	eventually(t, "the problem", func() bool { return b.Problem() != nil })
	write(right)
	if _, err := b.Reload(); err != nil {
		t.Error(err)
	}
	expect(t, "connected", h.connected, true)
	if err := b.Problem(); err != nil {
		t.Errorf("Problem = %v", err)
	}
}

// TestReloadKeepsMessages: what Send has accepted before a new key is used arrives, and
// what it has not accepted it has refused.
func TestReloadKeepsMessages(t *testing.T) {
	t.Parallel()
	f := newSeedFile(t)
	s := startServer(t, &server.Options{Nkeys: f.nkeys})
	member := func(server, peer string) *Bus {
		return New(Config{URLs: []string{s.ClientURL()}, Prefix: "herd", Server: server, Neighbours: []string{peer}, Epoch: 1, Seed: f.file, Log: testLog(t)})
	}
	a, b := member("A", "B"), member("B", "A")
	toA, toB := newReceiver(), newReceiver()
	arrived := make(chan uint64, 1_000_000)
	toB.onReceive = func(m bus.Message) { arrived <- m.Seq }
	start(t, b, toB)
	expect(t, "B", toB.connected, true)
	start(t, a, toA)
	expect(t, "A", toA.connected, true)
	accepted, refused := 0, 0
	for i := range 20 {
		f.write(t, (i+1)%2)
		if changed, err := a.Reload(); !changed || err != nil {
			t.Errorf("Reload = %v, %v", changed, err)
		}
		for up := true; up || len(toA.connected) == 0; time.Sleep(50 * time.Microsecond) {
			if up && len(toA.connected) > 0 {
				up = <-toA.connected
			}
			if err := a.Send(bus.Message{Lane: bus.Records, Peer: "B", Epoch: 1, Seq: uint64(accepted + 1), Data: []byte("x")}); err == nil {
				accepted++
			} else {
				refused++
			}
		}
		expect(t, "A", toA.connected, true)
	}
	if accepted == 0 || refused == 0 {
		t.Errorf("Send has accepted %d messages and refused %d, want some of both", accepted, refused)
	}
	for i := range accepted {
		expect(t, "a message", arrived, uint64(i+1))
	}
}

// TestReloadAfterProbe: a key that was changed is used from Reload on, also if the bus has
// made other connections since the change, to look at the broker's limits.
func TestReloadAfterProbe(t *testing.T) {
	t.Parallel()
	f := newSeedFile(t)
	s := startServer(t, &server.Options{Nkeys: f.nkeys, MaxSubs: 4})
	b := New(Config{URLs: []string{s.ClientURL()}, Prefix: "herd", Server: "A", Neighbours: []string{"B"}, Epoch: 1, Seed: f.file, Log: testLog(t)})
	h := newReceiver()
	start(t, b, h)
	expect(t, "connected", h.connected, true)
	f.write(t, 1)
	before := connections(t, s)
	eventually(t, "a probe", func() bool { return connections(t, s) > before })
	if changed, err := b.Reload(); !changed || err != nil {
		t.Errorf("Reload of another key = %v, %v", changed, err)
	}
	expect(t, "disconnected", h.connected, false)
	expect(t, "connected", h.connected, true)
	if changed, err := b.Reload(); changed || err != nil {
		t.Errorf("Reload of the same key = %v, %v", changed, err)
	}
}

// TestReloadReplies: the request that leads to Reload has its reply before the bus
// reconnects, however long the reply takes; and meanwhile the bus works.
func TestReloadReplies(t *testing.T) {
	t.Parallel()
	f := newSeedFile(t)
	s := startServer(t, &server.Options{Nkeys: f.nkeys})
	b := New(Config{
		URLs: []string{s.ClientURL()}, Prefix: "herd", Server: "A", Epoch: 1, Seed: f.file, Log: testLog(t),
		Service: Service{Endpoints: []bus.Endpoint{reloadEndpoint}},
	})
	h := newReceiver()
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	var rounds int
	go func() {
		done <- b.Run(ctx, answerer{h, func(string, []byte) ([]byte, error) {
			rounds++
			f.write(t, rounds%2)
			if changed, err := b.Reload(); !changed || err != nil {
				t.Errorf("Reload = %v, %v", changed, err)
			}
			began := time.Now()
			b.SetNeighbours([]string{"B", fmt.Sprint("C", rounds)})
			if took := time.Since(began); took > edgesTimeout/2 {
				t.Errorf("SetNeighbours took %v", took)
			}
			time.Sleep(time.Duration(rounds%3) * 50 * time.Millisecond)
			return fmt.Append(nil, rounds), nil
		}})
	}()
	t.Cleanup(func() {
		stop()
		<-done
	})
	expect(t, "connected", h.connected, true)
	nc, err := nats.Connect(s.ClientURL(), nats.Nkey(f.nkeys[0].Nkey, f.users[0].Sign))
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	for i := range 20 {
		reply, err := nc.Request("herd.reload.A", nil, patience)
		if err != nil || string(reply.Data) != fmt.Sprint(i+1) {
			t.Fatalf("round %d: %v, %v", i, reply, err)
		}
		expect(t, "disconnected", h.connected, false)
		expect(t, "connected", h.connected, true)
	}
}

// seedFile is a file with the seed of one of two users.
type seedFile struct {
	file  string
	users []nkeys.KeyPair
	nkeys []*server.NkeyUser // both
}

func newSeedFile(t *testing.T) *seedFile {
	f := &seedFile{file: filepath.Join(t.TempDir(), "seed"), users: []nkeys.KeyPair{newUser(t), newUser(t)}}
	for _, user := range f.users {
		f.nkeys = append(f.nkeys, &server.NkeyUser{Nkey: publicKey(t, user)})
	}
	f.write(t, 0)
	return f
}

// write makes user i the file's.
func (f *seedFile) write(t *testing.T, i int) {
	seed, err := f.users[i].Seed()
	if err == nil {
		err = os.WriteFile(f.file, seed, 0o600)
	}
	if err != nil {
		t.Error(err)
	}
}

// connections is how many a server has had.
func connections(t *testing.T, s *server.Server) uint64 {
	t.Helper()
	v, err := s.Varz(nil)
	if err != nil {
		t.Fatal(err)
	}
	return v.TotalConnections
}
