package rivals

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"herd/node/status"
)

// Attack is what clients do that mean no good, or many honest ones for comparison. It runs
// in a process of its own, so that it competes with others for the machine as strangers do.
type Attack struct {
	Kind  string // in attacks
	Addr  string // what is attacked: a client port, NATS or HTTP for operators
	Conns int
	Proxy bool // connections begin with a PROXY protocol header; 60 share an address
}

// attacks are what one connection of an attack does, by kind, until it cannot go on. Each
// then begins anew with another connection.
var attacks = map[string]func(a Attack, number int) error{
	"honest":     attackHonestly,
	"flood":      attackWithReports,
	"blank":      attackWithBlankLines,
	"whatsat":    attackWithLookups,
	"trickle":    attackTrickling,
	"unread":     attackUnread,
	"handshakes": attackSilently,
	"tls":        attackWithHandshakes,
	"churn":      attackChurning,
	"ids":        attackWithLongIDs,
	"places":     attackPlaces,
	"status":     attackBus,
	"scrape":     attackHTTP,
	"requests":   attackWithRequests,
	"clients":    attackWithClients,
	"repeats":    attackWithRepeats,
}

// StartAttack starts an attack, which goes on until the process is stopped.
func StartAttack(ctx context.Context, lab *Lab, a Attack) (*Process, error) {
	return start(ctx, child("attack"), lab.Self, a.Kind, a.Addr, strconv.Itoa(a.Conns), strconv.FormatBool(a.Proxy))
}

func runAttack(args []string) error {
	conns, err := strconv.Atoi(args[2])
	if err != nil {
		return err
	}
	a := Attack{Kind: args[0], Addr: args[1], Conns: conns, Proxy: args[3] == "true"}
	do := attacks[a.Kind]
	if do == nil {
		return fmt.Errorf("no attack %q", a.Kind)
	}
	for number := range conns {
		go func() {
			for {
				if do(a, number) != nil {
					time.Sleep(20 * time.Millisecond) // refused: it tries again
				}
			}
		}()
	}
	select {}
}

func (a Attack) dial(number int) (net.Conn, error) {
	conn, err := net.Dial("tcp", a.Addr)
	if err != nil || !a.Proxy {
		return conn, err
	}
	_, err = io.WriteString(conn, ProxyHeader(number/60))
	return conn, err
}

// honestAddress is the number of the address of honest clients, for ProxyHeader.
const honestAddress = 1000

// ProxyHeader is the PROXY protocol header of a client at address number.
func ProxyHeader(number int) string {
	return fmt.Sprintf("PROXY TCP4 198.51.%d.%d 127.0.0.1 40000 12000\r\n", 100+number/250, 1+number%250)
}

// write opens a connection and writes text again and again. Replies are discarded.
func (a Attack) write(number int, text func() []byte) error {
	conn, err := a.dial(number)
	if err != nil {
		return err
	}
	defer conn.Close()
	go io.Copy(io.Discard, conn)
	for {
		if _, err := conn.Write(text()); err != nil {
			return err
		}
	}
}

func report(client string, now time.Time) string {
	return fmt.Sprintf("IAMAT %s +34.068930-118.445127 %d.%09d\n", client, now.Unix(), now.Nanosecond())
}

// attackHonestly reports and waits for the reply each time.
func attackHonestly(a Attack, number int) error {
	conn, err := a.dial(number)
	if err != nil {
		return err
	}
	defer conn.Close()
	replies := bufio.NewReader(conn)
	for {
		if _, err := io.WriteString(conn, report(fmt.Sprint("honest", number), time.Now())); err != nil {
			return err
		}
		if _, err := replies.ReadString('\n'); err != nil {
			return err
		}
	}
}

const attackWrite = 64 << 10

// attackWithReports reports without waiting.
func attackWithReports(a Attack, number int) error {
	var text []byte
	return a.write(number, func() []byte {
		text = text[:0]
		for now := time.Now(); len(text) < attackWrite; now = now.Add(1) {
			text = append(text, report(fmt.Sprint("flood", number), now)...)
		}
		return text
	})
}

func attackWithBlankLines(a Attack, number int) error {
	text := bytes.Repeat([]byte("\n"), attackWrite)
	return a.write(number, func() []byte { return text })
}

const whatsAt = "WHATSAT attacker 10 20\n"

func attackWithLookups(a Attack, number int) error {
	text := []byte(report("attacker", time.Now()) + strings.Repeat(whatsAt, attackWrite/len(whatsAt)))
	return a.write(number, func() []byte { return text })
}

// attackTrickling sends 10 bytes a second.
func attackTrickling(a Attack, number int) error {
	time.Sleep(rand.N(100 * time.Millisecond))
	text := report(fmt.Sprint("trickle", number), time.Now())
	at := 0
	return a.write(number, func() []byte {
		time.Sleep(100 * time.Millisecond)
		at++
		return []byte{text[at%len(text)]}
	})
}

// attackUnread asks for 600 KB of replies, and reads none. Its own kernel takes little.
func attackUnread(a Attack, number int) error {
	conn, err := a.dial(number)
	if err != nil {
		return err
	}
	defer conn.Close()
	conn.(*net.TCPConn).SetReadBuffer(4 << 10)
	if _, err := io.WriteString(conn, report("unread", time.Now())+strings.Repeat("WHATSAT unread 10 20\n", 40)); err != nil {
		return err
	}
	time.Sleep(time.Hour)
	return nil
}

// attackSilently opens a connection and begins a TLS handshake.
func attackSilently(a Attack, number int) error {
	conn, err := a.dial(number)
	if err != nil {
		return err
	}
	defer conn.Close()
	if _, err := conn.Write([]byte{22, 3, 1}); err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, conn)
	return err
}

// attackWithHandshakes completes a TLS handshake and closes the connection.
func attackWithHandshakes(a Attack, number int) error {
	conn, err := a.dial(number)
	if err != nil {
		return err
	}
	defer conn.Close()
	return tls.Client(conn, &tls.Config{InsecureSkipVerify: true}).Handshake() // it does not care whom it attacks
}

// attackChurning opens a connection, says a word and closes it.
func attackChurning(a Attack, number int) error {
	conn, err := a.dial(number)
	if err != nil {
		return err
	}
	defer conn.Close()
	_, err = io.WriteString(conn, "x\n")
	return err
}

// attackWithLongIDs reports clients whose names are as long as a line may be.
func attackWithLongIDs(a Attack, number int) error {
	id := strings.Repeat("x", 8000)
	n := 0
	return a.write(number, func() []byte {
		n++
		return []byte(report(fmt.Sprint(id, number, ".", n), time.Now()))
	})
}

// attackPlaces asks for places, each time in another radius, and waits for the reply.
func attackPlaces(a Attack, number int) error {
	conn, err := a.dial(number)
	if err != nil {
		return err
	}
	defer conn.Close()
	replies := bufio.NewReader(conn)
	if _, err := io.WriteString(conn, report("places", time.Now())); err != nil {
		return err
	}
	if _, err := replies.ReadString('\n'); err != nil {
		return err
	}
	for {
		if _, err := fmt.Fprintf(conn, "WHATSAT places %.9f 20\n", 1+40*rand.Float64()); err != nil {
			return err
		}
		for line := ""; line != "\n"; {
			if line, err = replies.ReadString('\n'); err != nil {
				return err
			}
		}
	}
}

// attackBus asks all servers for their status without end, and takes no answer.
func attackBus(a Attack, number int) error {
	conn, err := nats.Connect(a.Addr, nats.NoReconnect())
	if err != nil {
		return err
	}
	defer conn.Close()
	for i := 0; ; i++ {
		if err := conn.PublishRequest(status.Endpoint.Subject("herd", ""), "attacker", nil); err != nil {
			return err
		}
		if i%100 == 0 {
			time.Sleep(time.Millisecond)
		}
	}
}

// attackHTTP reads the metrics without end; each second connection only stays open.
func attackHTTP(a Attack, number int) error {
	if number%2 == 0 {
		conn, err := net.Dial("tcp", strings.TrimPrefix(a.Addr, "http://"))
		if err != nil {
			return err
		}
		defer conn.Close()
		io.WriteString(conn, "GET /metrics HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
		_, err = io.Copy(io.Discard, conn)
		return err
	}
	for {
		reply, err := http.Get(a.Addr + "/metrics")
		if err != nil {
			return err
		}
		io.Copy(io.Discard, reply.Body)
		reply.Body.Close()
	}
}
