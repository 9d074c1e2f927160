package load

import (
	"errors"
	"fmt"
	"net"
	"regexp"
	"slices"
	"time"
)

// Config is a load. The zero value of what is not said to be needed is of use.
type Config struct {
	Addresses   []string // of all servers to look at, host:port; needed
	First       bool     // write to the first address only; otherwise connections take all in turn
	Connections int      // needed
	Pipeline    int      // commands in flight a connection at most; needed
	Clients     int      // distinct clients over all connections, at least one each; needed
	Name        string   // clients are called <Name>.<number>; needed
	Asks        float64  // share of WHATSAT among the commands, from 0 to 1

	// Rate is how many commands a second are sent over all connections, whether
	// replies come or not, but for Pipeline; 0 is as fast as replies allow.
	Rate float64

	Duration time.Duration // of the load at most; needed
	Count    int           // of commands at most, each connection its share; needed

	Patience time.Duration // with a server that says nothing; needed
	Settle   time.Duration // for the last records to reach every server; 0 leaves replication and check out
	Check    int           // clients to check at every server afterwards, at most; 0 leaves the check out

	// Progress, if not nil, is called once a second during the load.
	Progress func(Progress)
	// Replicated, if not nil, is called when replication has been waited for,
	// before the check.
	Replicated func()
}

// Bounds of a Config, so that a slip of the hand is an error and not a burden.
const (
	MaxConnections = 60_000
	MaxPipeline    = 1_000
	MaxClients     = 10_000_000
	MaxRate        = 10_000_000
	MaxCount       = 2_000_000_000
	MaxDuration    = 24 * time.Hour
)

var clientName = regexp.MustCompile(`^[!-~]{1,64}$`)

// Validate returns all that is wrong with c.
func (c Config) Validate() error {
	var faults []error
	fault := func(format string, args ...any) { faults = append(faults, fmt.Errorf(format, args...)) }
	if len(c.Addresses) == 0 {
		fault("no addresses")
	}
	for i, a := range c.Addresses {
		if host, port, err := net.SplitHostPort(a); err != nil || host == "" || port == "" || port == "0" {
			fault("%q is no address such as 127.0.0.1:12000", a)
		} else if slices.Contains(c.Addresses[:i], a) {
			fault("%s is named twice", a)
		}
	}
	within := func(what string, n, least, most int) {
		if n < least || n > most {
			fault("%s: %d is not from %d to %d", what, n, least, most)
		}
	}
	within("connections", c.Connections, 1, MaxConnections)
	within("pipeline", c.Pipeline, 1, MaxPipeline)
	within("clients", c.Clients, 1, MaxClients)
	within("count", c.Count, 1, MaxCount)
	within("check", c.Check, 0, MaxClients)
	if c.Clients < c.Connections && c.Clients >= 1 {
		fault("clients: %d are too few for %d connections, each of which needs one of its own", c.Clients, c.Connections)
	}
	if !(c.Rate >= 0 && c.Rate <= MaxRate) { // so that NaN is a fault
		fault("rate: %v is not from 0 to %d a second", c.Rate, MaxRate)
	}
	if !(c.Asks >= 0 && c.Asks <= 1) {
		fault("share of WHATSAT: %v is not from 0 to 1", c.Asks)
	}
	if !clientName.MatchString(c.Name) {
		fault("name: %q is not 1 to 64 printable ASCII characters without a space", c.Name)
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
			fault("%s: %v is not from %v to %v", d.what, d.is, d.least, d.most)
		}
	}
	return errors.Join(faults...)
}
