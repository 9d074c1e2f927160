// Package embed runs a NATS server inside the process: the bus of a herd on one machine,
// and of tests.
package embed

import (
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nkeys"

	"herd/bus/ratenote"
)

const startTimeout = 5 * time.Second

// Server is a running NATS server.
type Server struct {
	nats        *server.Server
	stopReports func() // of repeated errors
	padded      bool   // the configuration has one user more: see padUsers
}

// Start starts a NATS server that listens at listen, host:port; port 0 chooses a free
// port. It is for tests: it accepts unauthenticated clients and restricts nobody.
//
// Start returns when the server accepts connections, or the reason why it cannot. The
// server stores nothing and handles no signals.
func Start(listen string, log *slog.Logger) (*Server, error) {
	host, portText, err := net.SplitHostPort(listen)
	if err != nil {
		return nil, err
	}
	port, err := strconv.Atoi(portText)
	if err != nil {
		return nil, fmt.Errorf("port %q: %w", portText, err)
	}
	if port == 0 {
		port = server.RANDOM_PORT
	}
	if host == "" {
		host = "0.0.0.0"
	}
	return start(&server.Options{
		Host: host, Port: port,
		NoFastProducerStall: true, // a slow subscriber must not delay the others
	}, log)
}

// StartConf starts a NATS server like Start, with the text of a nats.conf.
func StartConf(conf string, log *slog.Logger) (*Server, error) {
	opts := &server.Options{}
	if err := opts.ProcessConfigString(conf); err != nil {
		return nil, fmt.Errorf("configure the NATS server: %w", err)
	}
	return start(opts, log)
}

// Reload replaces the configuration of a server that StartConf started, with the text of
// another one. Clients whose permissions do not change stay connected. The address stays. On
// an error the old configuration stays. Calls must follow one another. Both configurations must
// have as many users.
func (s *Server) Reload(conf string) error {
	opts := &server.Options{}
	err := opts.ProcessConfigString(conf)
	if err == nil {
		opts.NoSigs = true
		err = s.padUsers(opts)
	}
	if err == nil {
		if err = s.nats.ReloadOptions(opts); err == nil {
			s.padded = !s.padded
		}
	}
	if err != nil {
		return fmt.Errorf("configure the NATS server: %w", err)
	}
	return nil
}

// padUsers adds a user whose key nobody has to each second configuration. ReloadOptions
// compares the old users with the new ones, also their accounts, whose counters other
// goroutines change meanwhile: a data race. If their number differs, it does not look further.
func (s *Server) padUsers(opts *server.Options) error {
	if s.padded || len(opts.Nkeys) == 0 {
		return nil
	}
	key, err := nkeys.CreateUser()
	if err != nil {
		return err
	}
	public, err := key.PublicKey()
	if err != nil {
		return err
	}
	nothing := &server.SubjectPermission{Deny: []string{">"}}
	opts.Nkeys = append(opts.Nkeys, &server.NkeyUser{
		Nkey: public, Account: opts.Nkeys[0].Account, Permissions: &server.Permissions{Publish: nothing, Subscribe: nothing},
	})
	return nil
}

func start(opts *server.Options, log *slog.Logger) (*Server, error) {
	opts.NoSigs = true
	s, err := server.NewServer(opts)
	if err != nil {
		return nil, fmt.Errorf("NATS server: %w", err)
	}
	l := &logger{log: log, fatal: make(chan string, 1)}
	s.SetLoggerV2(l, false, false, false)
	s.Start()
	ready := make(chan bool, 1)
	go func() { ready <- s.ReadyForConnections(startTimeout) }()
	select {
	case reason := <-l.fatal:
		err = fmt.Errorf("%s", reason)
	case ok := <-ready:
		if ok {
			return &Server{nats: s, stopReports: l.reportEvery(ratenote.Interval)}, nil
		}
		err = fmt.Errorf("not ready within %v", startTimeout)
	}
	s.Shutdown()
	s.WaitForShutdown()
	return nil, fmt.Errorf("NATS server at %s: %w", net.JoinHostPort(opts.Host, strconv.Itoa(opts.Port)), err)
}

// URL is the URL for clients.
func (s *Server) URL() string { return s.nats.ClientURL() }

// Shutdown stops the server, and returns when it has stopped.
func (s *Server) Shutdown() {
	s.nats.Shutdown()
	s.nats.WaitForShutdown()
	s.stopReports()
}
