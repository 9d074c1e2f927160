package natsbus

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/nats-io/nats.go/micro"

	"herd/bus"
)

// Service describes the server to tools, as a NATS micro service that is named for
// the herd's prefix: `nats micro ls`, `info` and `stats` find it.
type Service struct {
	Description string
	Metadata    map[string]string
	// Endpoints are the names of the endpoints, each at <prefix>.<name>. Requests are
	// answered by bus.Handler.Answer, by each server for itself: there are no queue
	// groups.
	Endpoints []string
	// ServerEndpoints are those of this server alone, each at <prefix>.<name>.<server>, and
	// answered in the same way.
	ServerEndpoints []string
	// StreamEndpoints are those of this server alone at which tools ask for a stream, each at
	// <prefix>.<name>.<server>. bus.Handler.Stream takes their requests.
	StreamEndpoints []string
}

// ServerHeader is the header of an answer that names the server which gave it.
const ServerHeader = "Herd-Server"

const serviceVersion = "0.1.0"

// codes are the codes of the errors that have one.
var codes = []struct {
	err  error
	code string
}{
	{bus.ErrUnknown, "404"},
	{bus.ErrConflict, "409"},
	{bus.ErrBusy, "429"},
	{bus.ErrUnavailable, "503"},
}

const (
	// maxRequestsWaiting and maxRequestBytes are what waits for an endpoint's answers at most.
	// Further requests are dropped, and those who asked get no answer.
	maxRequestsWaiting = 1000
	maxRequestBytes    = 4 << 20
	// busyAnswers is how many requests per second are told that there are too many. Answers
	// without end would be more work than the requests.
	busyAnswers = 200
)

// addService adds the service to the connection, with which it ends.
func (c *connection) addService() error {
	service := c.cfg.Service
	s, err := micro.AddService(c.nc, micro.Config{
		Name: string(c.cfg.Prefix), Version: serviceVersion, QueueGroupDisabled: true,
		Description: service.Description, Metadata: service.Metadata,
	})
	if err != nil {
		return fmt.Errorf("micro service: %w", err)
	}
	subjects := c.endpoints()
	for _, name := range slices.Sorted(maps.Keys(subjects)) { // as nats micro info shows them
		take := c.respond
		if slices.Contains(service.StreamEndpoints, name) {
			take = c.stream
		}
		respond := micro.HandlerFunc(func(request micro.Request) {
			if err := c.answer(name, request, take); err != nil {
				c.cfg.Log.Debug("micro service", "endpoint", name, "err", err)
			}
		})
		if err := s.AddEndpoint(name, respond, micro.WithEndpointSubject(subjects[name]),
			micro.WithEndpointPendingLimits(maxRequestsWaiting, maxRequestBytes)); err != nil {
			return fmt.Errorf("micro service: endpoint %s: %w", name, err)
		}
	}
	return nil
}

// endpoints are the subjects of the service's endpoints, by name.
func (c *connection) endpoints() map[string]string {
	subjects := map[string]string{}
	for _, name := range c.cfg.Service.Endpoints {
		subjects[name] = c.cfg.Prefix.Endpoint(name)
	}
	for _, name := range slices.Concat(c.cfg.Service.ServerEndpoints, c.cfg.Service.StreamEndpoints) {
		subjects[name] = c.cfg.Prefix.ServerEndpoint(name, c.cfg.Server)
	}
	return subjects
}

// isEndpoint reports whether requests of tools arrive on a subject.
func (c *connection) isEndpoint(subject string) bool {
	return slices.Contains(slices.Collect(maps.Values(c.endpoints())), subject)
}

// answer lets take answer one request, unless its reply subject is not for replies. A request with
// such a subject gets no reply.
func (c *connection) answer(endpoint string, request micro.Request, take func(endpoint string, request micro.Request) error) error {
	c.answering.Add(1)
	defer func() {
		if c.answering.Add(-1) == 0 {
			signal(c.answered)
		}
	}()
	if to := request.Reply(); !c.mayReply(to) {
		return fmt.Errorf("the reply subject %q is refused: a reply there would look like a message of a server", to)
	}
	return take(endpoint, request)
}

// mayReply reports whether a subject is one for replies to tools. A requester chooses the subject.
// Without accounts that keep tools and servers apart (package access), it could make us publish where
// only servers may: on subjects of the herd, of NATS itself, and in a server's inbox.
func (c *connection) mayReply(to string) bool {
	p := c.cfg.Prefix
	if strings.HasPrefix(to, string(p)+".") || strings.HasPrefix(to, "$") || strings.HasSuffix(to, "."+string(bus.SyncReply)) {
		return false
	}
	return !slices.ContainsFunc(append(c.currentNeighbours(), c.cfg.Server), func(server string) bool {
		return strings.HasPrefix(to, p.Inbox(server)+".")
	})
}

// respond answers one request. An error is answered in the form that micro services
// have for it: in headers, with its code, which is 400 for those that have none, and as
// text. Beyond busyAnswers, bus.ErrBusy is not answered.
func (c *connection) respond(endpoint string, request micro.Request) error {
	reply, err := c.handler.Answer(endpoint, request.Data())
	if err == nil {
		return request.Respond(reply, c.from())
	}
	return c.respondError(request, err)
}

// stream takes a request about a stream. Only the first of a stream has a reply subject, and can
// be answered with an error.
func (c *connection) stream(endpoint string, request micro.Request) error {
	r := bus.StreamRequest{Endpoint: endpoint, To: request.Reply(), Data: request.Data()}
	err := readHeaders(request.Headers(), &r)
	if err == nil {
		err = c.handler.Stream(r)
	}
	if err == nil || r.To == "" {
		return err
	}
	return c.respondError(request, err)
}

// readHeaders reads a request's headers about its stream.
func readHeaders(h micro.Headers, r *bus.StreamRequest) (err error) {
	const maxID = 64 // bytes
	if r.ID = h.Get(bus.StreamHeader); r.ID == "" || len(r.ID) > maxID {
		return fmt.Errorf("header %s must be the stream's ID, of 1 to %d bytes", bus.StreamHeader, maxID)
	}
	if ack := h.Get(bus.AckHeader); ack != "" {
		if r.Ack, err = strconv.ParseUint(ack, 10, 64); err != nil {
			return fmt.Errorf("header %s must be a frame's number, and is %.40q", bus.AckHeader, ack)
		}
	}
	switch end := h.Get(bus.EndHeader); end {
	case "", "true":
		r.End = end != ""
	default:
		return fmt.Errorf("header %s must be true, and is %.40q", bus.EndHeader, end)
	}
	return nil
}

// respondError answers a request with an error.
func (c *connection) respondError(request micro.Request, err error) error {
	if errors.Is(err, bus.ErrBusy) && !c.busy.Allow() {
		return nil
	}
	code := "400"
	for _, known := range codes {
		if errors.Is(err, known.err) {
			code = known.code
		}
	}
	return request.Error(code, err.Error(), []byte(err.Error()), c.from())
}

// from is the header that says who replies.
func (c *connection) from() micro.RespondOpt {
	return micro.WithHeaders(micro.Headers{ServerHeader: {c.cfg.Server}})
}
