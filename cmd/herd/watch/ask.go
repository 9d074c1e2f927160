package watch

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"time"

	"herd/bus"
	"herd/node/wire"
	"herd/places"
)

const (
	// maxRequestsAtOnce is how many requests for JSON are handled at a time. Further ones wait for requestWait.
	maxRequestsAtOnce = 8
	requestWait       = 5 * time.Second
	// requestTimeout is how long handling a request may take, the wait included.
	requestTimeout = 15 * time.Second
	// maxNear is about how many bytes the clients near a place have in a reply. Further ones are left out.
	maxNear = 256 << 10
)

// statusError is an error with its HTTP status.
type statusError struct {
	status int
	error
}

func badRequest(format string, args ...any) error {
	return statusError{http.StatusBadRequest, fmt.Errorf(format, args...)}
}

// statusOf is the HTTP status of an error.
func statusOf(err error) int {
	var own statusError
	switch {
	case errors.As(err, &own):
		return own.status
	case errors.Is(err, bus.ErrUnknown):
		return http.StatusNotFound
	case errors.Is(err, bus.ErrConflict):
		return http.StatusConflict
	case errors.Is(err, bus.ErrBusy):
		return http.StatusTooManyRequests
	case errors.Is(err, bus.ErrDenied):
		return http.StatusForbidden
	}
	return http.StatusServiceUnavailable // the bus, or the servers
}

// jsonHandler returns the value whose JSON is the reply to a request.
type jsonHandler func(context.Context, *http.Request) (any, error)

// serveJSON replies with JSON, or with an error in one line. A browser that does not read its reply does not
// delay other requests.
func (p *Page) serveJSON(handle jsonHandler) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), requestTimeout)
		defer cancel()
		reply, err := p.limited(ctx, r, handle)
		if r.Context().Err() != nil {
			return // the browser is gone
		}
		var encoded []byte
		if err == nil {
			encoded, err = json.Marshal(reply)
			if err != nil { // a source of places has replied with what is no JSON
				err = statusError{http.StatusBadGateway, err}
			}
		}
		http.NewResponseController(w).SetWriteDeadline(time.Now().Add(writeTimeout)) // an error shows at the write
		if err != nil {
			http.Error(w, oneLine(err.Error()), statusOf(err))
			return
		}
		w.Header().Set("Content-Type", "application/json")
		w.Write(append(encoded, '\n')) // an error: the browser is gone
	}
}

// limited handles a request, once fewer than maxRequestsAtOnce are being handled.
func (p *Page) limited(ctx context.Context, r *http.Request, handle jsonHandler) (any, error) {
	select {
	case p.handling <- struct{}{}:
		defer func() { <-p.handling }()
	case <-time.After(requestWait):
		return nil, statusError{http.StatusTooManyRequests, errors.New("too many requests at a time: try again later")}
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	return handle(ctx, r)
}

// clientReply is what all servers know of a client. What is not UTF-8 is in fields of its own, as base64.
type clientReply struct {
	ID       string        `json:"id,omitempty"`
	IDBase64 string        `json:"id_base64,omitempty"`
	Servers  []recordReply `json:"servers"`
	Missing  []string      `json:"missing"` // servers that have not replied
}

type recordReply struct {
	Server string `json:"server"`
	Known  bool   `json:"known"`
	Error  string `json:"error,omitempty"`
	*recordFields
}

// recordFields is a record.
type recordFields struct {
	Record       string  `json:"record,omitempty"`
	RecordBase64 string  `json:"record_base64,omitempty"`
	Origin       string  `json:"origin"` // the server that received the report
	Lat          float64 `json:"lat"`
	Lon          float64 `json:"lon"`
	Time         float64 `json:"time"`    // the client's, in seconds since 1970
	Receipt      float64 `json:"receipt"` // the origin's clock when it received the report
	Age          float64 `json:"age"`     // seconds since the receipt, by this program's clock
	SameAs       int     `json:"sameAs"`  // index of the first server with the same record
}

// notClient formats a text that is not a client's ID, and the limit of its length.
const notClient = "%.80q is not a client's ID: an ID has 1 to %d bytes, and no white space"

// requestedClient is the client that a request names.
func requestedClient(r *http.Request) (string, error) {
	id := r.URL.Query().Get("id")
	if !wire.IsClient(id) {
		return "", badRequest("id: "+notClient, id, wire.MaxClient)
	}
	return id, nil
}

// clientRecords handles /api/client: what all servers know of a client.
func (p *Page) clientRecords(ctx context.Context, r *http.Request) (any, error) {
	id, err := requestedClient(r)
	if err != nil {
		return nil, err
	}
	records, err := p.cfg.Herd.Records(ctx, id)
	if err != nil {
		return nil, err
	}
	reply := clientReply{Servers: []recordReply{}, Missing: []string{}}
	reply.ID, reply.IDBase64 = textOrBase64([]byte(id))
	first := map[string]int{}
	for _, one := range records {
		if !one.Replied {
			reply.Missing = append(reply.Missing, one.Server)
			continue
		}
		server := recordReply{Server: one.Server, recordFields: fieldsOf(one.Line, time.Now())}
		if one.Err != nil {
			server.Error = oneLine(one.Err.Error())
		}
		if server.recordFields != nil {
			server.Known = true
			if _, known := first[one.Line]; !known {
				first[one.Line] = len(reply.Servers)
			}
			server.SameAs = first[one.Line]
		}
		reply.Servers = append(reply.Servers, server)
	}
	return reply, nil
}

// fieldsOf describes a record; nil for none, and for a tombstone.
func fieldsOf(line string, now time.Time) *recordFields {
	r, err := wire.ParseRecord([]byte(line))
	if err != nil || r.IsTombstone() {
		return nil
	}
	f := &recordFields{Origin: string(r.Server()), Time: r.Time.Seconds(), Receipt: r.Receipt.Seconds()}
	f.Record, f.RecordBase64 = textOrBase64([]byte(line))
	f.Lat, f.Lon = r.Position()
	f.Age = round(wire.InstantOf(now).Sub(r.Receipt).Seconds())
	return f
}

// nearbyPlaces handles /api/places: the places near a client.
func (p *Page) nearbyPlaces(ctx context.Context, r *http.Request) (any, error) {
	id, err := requestedClient(r)
	if err != nil {
		return nil, err
	}
	query := r.URL.Query()
	const maxRadius = places.MaxRadius / 1000
	radius, err := strconv.ParseFloat(cmp.Or(query.Get("radius"), "10"), 64)
	if err != nil || !(radius >= 0 && radius <= maxRadius) {
		return nil, badRequest("radius: %.40q is not a number of kilometres from 0 to %d", query.Get("radius"), maxRadius)
	}
	bound, err := strconv.Atoi(cmp.Or(query.Get("bound"), "20"))
	if err != nil || bound < 0 || bound > places.MaxBound {
		return nil, badRequest("bound: %.40q is not a number of places from 0 to %d", query.Get("bound"), places.MaxBound)
	}
	if p.cfg.Places == nil {
		return nil, statusError{http.StatusNotFound, errors.New("this page has no source of places")}
	}
	records, err := p.cfg.Herd.Records(ctx, id)
	if err != nil {
		return nil, err
	}
	newest, ok := newestOf(records)
	if !ok {
		return nil, statusError{http.StatusNotFound, errors.New("no server knows the client")}
	}
	lat, lon := newest.Position()
	if host, _, err := net.SplitHostPort(r.RemoteAddr); err == nil {
		ctx = places.WithClient(ctx, host)
	}
	found := places.AppendResponse(ctx, nil, p.cfg.Places, places.Query{Lat: lat, Lon: lon, Radius: radius * 1000, Bound: bound})
	record, encoded := textOrBase64(newest.Line)
	return struct {
		Record       string          `json:"record,omitempty"`
		RecordBase64 string          `json:"record_base64,omitempty"`
		Places       json.RawMessage `json:"places"`
	}{record, encoded, json.RawMessage(bytes.TrimSpace(found))}, nil
}

// newestOf is the record that wins.
func newestOf(records []Record) (newest wire.Record, ok bool) {
	for _, one := range records {
		if r, err := wire.ParseRecord([]byte(one.Line)); err == nil && (!ok || wire.Compare(r, newest) > 0) {
			newest, ok = r, true
		}
	}
	return newest, ok && !newest.IsTombstone()
}

// nearReply is the clients near a place, the nearest first.
type nearReply struct {
	Clients []json.RawMessage `json:"clients"`           // each a nearClient
	LeftOut int               `json:"leftOut,omitempty"` // further clients, which did not fit
	// Unknown is set if the server does not know the client that is asked about. That is no HTTP error: a page asks
	// until the client has reported, and a browser logs each error.
	Unknown bool `json:"unknown,omitempty"`
}

type nearClient struct {
	Km       float64 `json:"km"`
	ID       string  `json:"id,omitempty"`
	IDBase64 string  `json:"id_base64,omitempty"`
	Lat      float64 `json:"lat"`
	Lon      float64 `json:"lon"`
	Time     float64 `json:"time"`
}

// nearbyClients handles /api/near: who is near a location or a client.
func (p *Page) nearbyClients(ctx context.Context, r *http.Request) (any, error) {
	query := r.URL.Query()
	at := query.Get("at")
	if !wire.IsClient(at) {
		return nil, badRequest("at: %.80q is neither a location such as +34.07-118.45 nor a client's ID", at)
	}
	request := fmt.Appendf(nil, "%s %s %s", at, cmp.Or(query.Get("km"), "10"), cmp.Or(query.Get("limit"), "20"))
	if _, err := wire.ParseNear(request); err != nil {
		return nil, badRequest("%v", err)
	}
	found, err := p.cfg.Herd.Near(ctx, request)
	reply, size := nearReply{Clients: []json.RawMessage{}, LeftOut: found.LeftOut, Unknown: errors.Is(err, bus.ErrUnknown)}, 0
	switch {
	case reply.Unknown:
		return reply, nil
	case err != nil:
		return nil, err
	}
	for line := range bytes.Lines(found.Data) {
		km, record, err := wire.ParseFound(bytes.TrimSuffix(line, []byte("\n")))
		if err != nil {
			return nil, statusError{http.StatusBadGateway, fmt.Errorf("a line of the reply is not a distance and a record: %.80q", line)}
		}
		one := nearClient{Km: km, Time: record.Time.Seconds()}
		one.ID, one.IDBase64 = textOrBase64(record.Client())
		one.Lat, one.Lon = record.Position()
		encoded, err := json.Marshal(one)
		if err != nil {
			return nil, err
		}
		if size += len(encoded); size > maxNear { // also for those that follow: they are farther away
			reply.LeftOut++
			continue
		}
		reply.Clients = append(reply.Clients, encoded)
	}
	return reply, nil
}
