package load

import (
	"context"
	"errors"
	"fmt"
	"net"
	"regexp"
	"slices"
	"time"

	"herd/bus/plural"
)

// Config describes a load. Fields marked "required" must not be zero.
type Config struct {
	Addresses   []string // host:port of every server; required
	First       bool     // send to the first address only; otherwise connections use all addresses in turn
	Connections int      // required
	Pipeline    int      // maximum of commands in flight on a connection; required
	Clients     int      // distinct clients over all connections, at least one per connection; required
	Name        string   // client ids are <Name>.<number>; required
	Asks        float64  // share of WHATSAT among the commands, from 0 to 1

	// Rate is the number of commands to send per second over all connections. Commands
	// do not wait for earlier replies unless Pipeline are in flight. 0 sends as fast as
	// replies allow.
	Rate float64

	Duration time.Duration // maximum duration of the load; required
	Count    int           // maximum number of commands, divided among the connections; required

	Patience time.Duration // maximum time to wait for a reply; required
	Settle   time.Duration // maximum time until every server has the last records; 0 skips replication and check
	Check    int           // maximum number of clients to check at every server; 0 skips the check

	// Dial connects to a server. If it is nil, connections are TCP.
	Dial func(ctx context.Context, address string) (Conn, error)

	// Progress, if not nil, is called once a second during the load.
	Progress func(Progress)
	// Replicated, if not nil, is called after the replication phase, before the check.
	Replicated func()
}

// Conn is a connection to a server whose sending side can be closed.
type Conn interface {
	net.Conn
	CloseWrite() error
}

// Limits of a Config. They turn typing errors into error messages.
const (
	MaxConnections = 60_000
	MaxPipeline    = 1_000
	MaxClients     = 10_000_000
	MaxRate        = 10_000_000
	MaxCount       = 2_000_000_000
	MaxDuration    = 24 * time.Hour
)

var clientName = regexp.MustCompile(`^[!-~]{1,64}$`)

// Fault is an error in one field of a Config.
type Fault struct {
	Field  string // its name, in lower case
	Reason string
}

func (f *Fault) Error() string { return f.Field + ": " + f.Reason }

// Validate returns every error in c, joined. Those in fields but Addresses are each a *Fault.
func (c Config) Validate() error {
	var faults []error
	address := func(format string, args ...any) { faults = append(faults, fmt.Errorf(format, args...)) }
	fault := func(field, format string, args ...any) {
		faults = append(faults, &Fault{field, fmt.Sprintf(format, args...)})
	}
	if len(c.Addresses) == 0 {
		address("no addresses")
	}
	for i, a := range c.Addresses {
		if host, port, err := net.SplitHostPort(a); err != nil || host == "" || port == "" || port == "0" {
			address("%q is not an address such as 127.0.0.1:12000", a)
		} else if slices.Contains(c.Addresses[:i], a) {
			address("%s is listed twice", a)
		}
	}
	within := func(what string, n, least, most int) {
		if n < least || n > most {
			fault(what, "%d is not between %d and %d", n, least, most)
		}
	}
	within("connections", c.Connections, 1, MaxConnections)
	within("pipeline", c.Pipeline, 1, MaxPipeline)
	within("clients", c.Clients, 1, MaxClients)
	within("count", c.Count, 1, MaxCount)
	within("check", c.Check, 0, MaxClients)
	if c.Clients < c.Connections && c.Clients >= 1 {
		fault("clients", "%d %s too few for %d connections: each needs its own client", c.Clients, plural.Form(c.Clients, "is", "are"), c.Connections)
	}
	if !(c.Rate >= 0 && c.Rate <= MaxRate) { // false for NaN
		fault("rate", "%v is not between 0 and %d per second", c.Rate, MaxRate)
	}
	if !(c.Asks >= 0 && c.Asks <= 1) {
		fault("asks", "a share of WHATSAT of %v is not between 0 and 1", c.Asks)
	}
	if !clientName.MatchString(c.Name) {
		fault("name", "%q is not 1 to 64 printable ASCII characters without a space", c.Name)
	}
	for _, d := range []struct {
		what        string
		is          time.Duration
		least, most time.Duration
	}{
		{"duration", c.Duration, time.Millisecond, MaxDuration},
		{"patience", c.Patience, time.Millisecond, MaxDuration},
		{"settle", c.Settle, 0, MaxDuration},
	} {
		if d.is < d.least || d.is > d.most {
			fault(d.what, "%v is not between %v and %v", d.is, d.least, d.most)
		}
	}
	return errors.Join(faults...)
}
