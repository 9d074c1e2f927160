package node

import (
	"context"
	"log/slog"
	"sync/atomic"
	"time"

	"herd/bus/ratenote"
)

// refusal is a limit on clients, as the reason why something was refused or a client was
// disconnected.
type refusal uint8

const (
	tooManyConnections refusal = iota
	tooManyOfAddress
	tooManyPerSecond
	noProxyHeader
	slowHandshake
	tooManyHandshakes
	failedHandshake
	otherName
	longLine
	tooManyClients
	mapFull
	idleTimeout
	writeTimeout
	refusalKinds // their number
)

// refusalTexts are the reasons in metrics, and the lines of the log.
var refusalTexts = [refusalKinds]struct {
	reason  string
	level   slog.Level
	message string
}{
	tooManyConnections: {"connections", slog.LevelWarn, "connections refused: too many are open"},
	tooManyOfAddress:   {"address_connections", slog.LevelWarn, "connections refused: too many are open from one address"},
	tooManyPerSecond:   {"connection_rate", slog.LevelWarn, "connections refused: too many a second from one address"},
	noProxyHeader:      {"proxy_header", slog.LevelWarn, "connections closed: no PROXY protocol header from a proxy"},
	slowHandshake:      {"handshake_timeout", slog.LevelWarn, "connections closed: the handshake took too long"},
	tooManyHandshakes:  {"handshakes", slog.LevelWarn, "connections closed: too many handshakes are in progress, these were the oldest"},
	failedHandshake:    {"handshake_failed", slog.LevelWarn, "connections closed: the TLS handshake failed"},
	otherName:          {"certificate_name", slog.LevelWarn, "reports refused: the client's certificate has another name"},
	longLine:           {"line_length", slog.LevelWarn, "lines refused: they are too long"},
	tooManyClients:     {"clients", slog.LevelWarn, "reports of new clients refused: there are too many clients"},
	mapFull:            {"map_full", slog.LevelWarn, "reports of new clients refused: the map is full"},
	idleTimeout:        {"idle", slog.LevelInfo, "clients disconnected: they were idle"},
	writeTimeout:       {"write_timeout", slog.LevelWarn, "clients disconnected: they did not read their replies"},
}

// refusals counts what limits on clients refused, and limits how often that is logged. It
// is safe for concurrent use.
type refusals [refusalKinds]struct {
	count atomic.Uint64
	notes ratenote.Limiter
}

// byReason is the number of refusals so far. All reasons are there.
func (r *refusals) byReason() map[string]uint64 {
	counts := map[string]uint64{}
	for why := range r {
		counts[refusalTexts[why].reason] = r[why].count.Load()
	}
	return counts
}

// refuse counts refusals, and logs them: at once, and then once a second with a count.
// client is the remote address; err says more, nil for nothing.
func (n *Node) refuse(why refusal, times int, client string, err error) {
	if err != nil {
		client += ": " + err.Error()
	}
	r := &n.refusals[why]
	r.count.Add(uint64(times))
	r.notes.Note("", client, times)
	n.reportRefusals(why, time.Now())
}

// reportRefusals logs refusals of one kind, if they are due.
func (n *Node) reportRefusals(why refusal, now time.Time) {
	text := &refusalTexts[why]
	for _, r := range n.refusals[why].notes.Due(now) {
		n.log.Log(context.Background(), text.level, text.message, "count", r.Count, "last", r.Text)
	}
}
