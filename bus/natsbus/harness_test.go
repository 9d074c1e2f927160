package natsbus_test

import (
	"errors"
	"log/slog"
	"net"
	"net/url"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"herd/bus/bustest"
	"herd/bus/embed"
	"herd/bus/natsbus"
)

// startServer starts a stock NATS server.
func startServer(o *server.Options) (*server.Server, error) {
	o.NoSigs = true
	s, err := server.NewServer(o)
	if err != nil {
		return nil, err
	}
	s.Start()
	if !s.ReadyForConnections(10 * time.Second) {
		s.Shutdown()
		return nil, errors.New("not ready")
	}
	return s, nil
}

// setAddress splits an address; "" is a free one.
func setAddress(t *testing.T, address string, host *string, port *int) {
	*host, *port = "127.0.0.1", server.RANDOM_PORT
	if address == "" {
		return
	}
	_, text, err := net.SplitHostPort(address)
	if err == nil {
		*port, err = strconv.Atoi(text)
	}
	if err != nil {
		t.Error(err)
	}
}

func newHarness(t *testing.T) bustest.Harness {
	return harness(t, "", func(address string) (string, func(), error) {
		if address == "" {
			address = "127.0.0.1:0"
		}
		s, err := embed.Start(address, testLog(t))
		if err != nil {
			return "", nil, err
		}
		return s.URL(), s.Shutdown, nil
	})
}

func testLog(t testing.TB) *slog.Logger {
	return slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// harness is the suite's on NATS servers that start starts, on a free address or
// that of an earlier one.
func harness(t *testing.T, ca string, start func(address string) (url string, stop func(), err error)) bustest.Harness {
	log := testLog(t)
	url, stopServer, err := start("")
	if err != nil {
		t.Fatal(err)
	}
	address := mustHost(t, url)
	stop := sync.OnceFunc(stopServer)
	t.Cleanup(func() { stop() })
	return bustest.Harness{
		Bus: func(server string, epoch uint64, neighbours ...string) bustest.Bus {
			return natsbus.New(natsbus.Config{
				URLs: []string{url}, Prefix: "herd", Server: server, Neighbours: neighbours, Epoch: epoch, CA: ca, Log: log,
			})
		},
		Stop: func() { stop() },
		Start: func() {
			_, again, err := start(address)
			if err != nil {
				t.Error(err)
				return
			}
			stop = sync.OnceFunc(again)
		},
		Tap: func(hear func(string)) {
			var opts []nats.Option
			if ca != "" {
				opts = append(opts, nats.RootCAs(ca))
			}
			nc, err := nats.Connect(url, opts...)
			if err != nil {
				t.Error(err)
				return
			}
			t.Cleanup(nc.Close)
			if _, err := nc.Subscribe(">", func(m *nats.Msg) { hear(m.Subject + " " + string(m.Data)) }); err != nil {
				t.Error(err)
			}
			if err := nc.FlushTimeout(5 * time.Second); err != nil {
				t.Error(err)
			}
		},
	}
}

func mustHost(t *testing.T, raw string) string {
	u, err := url.Parse(raw)
	if err != nil {
		t.Fatal(err)
	}
	return u.Host
}
